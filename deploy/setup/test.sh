#!/bin/bash
# Run the tests, with the base of their images where an engine answers: test.sh [PYTEST-ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/setup/test-tools.sh
if timeout 10 docker version >/dev/null 2>&1; then deploy/setup/base-image.sh; fi
exec .venv/bin/python -m pytest "$@"
