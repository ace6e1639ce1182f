#!/bin/bash
# Make .venv/focus with the FinOps Foundation's validator of FOCUS, for the test of `windlass bill`.
# Its dependencies are many and old: they stay out of .venv. Without them its test is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=$(sha256sum <pyproject.toml)
if [ -f .venv/focus/installed ] && [ "$(cat .venv/focus/installed)" = "$wanted" ]; then exit 0; fi
# pandas of the version that it needs has no wheel for newer ones.
.venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || exit 0

echo "==> Install the validator of FOCUS into .venv/focus (a minute)"
.venv/bin/python -m venv .venv/focus
pip=(.venv/focus/bin/python -m pip install --disable-pip-version-check --quiet)
if "${pip[@]}" 'pip>=25.1' && "${pip[@]}" --group focus; then
    echo "$wanted" >.venv/focus/installed
else
    echo "the validator of FOCUS cannot be installed; its test is skipped" >&2
    rm -rf .venv/focus
fi
