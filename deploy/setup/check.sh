#!/bin/bash
# Check format, style, types, the arrows between areas, and the shell scripts.
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=.venv/bin
step() {
    echo "==> $*"
    "$@"
}

step $bin/ruff format --check .
step $bin/ruff check .
step $bin/mypy
step $bin/lint-imports
if command -v shellcheck >/dev/null; then
    step shellcheck deploy/setup/*.sh .ci/run
fi
