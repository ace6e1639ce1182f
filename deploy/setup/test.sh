#!/bin/bash
# Run the tests, with the base of their images where an engine answers: test.sh [PYTEST-ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/setup/test-tools.sh
deploy/setup/focus.sh
deploy/setup/compile.sh
if timeout 10 docker version >/dev/null 2>&1; then deploy/setup/base-image.sh; fi
.venv/bin/python -m pytest "$@"
if [ $# = 0 ]; then
    echo "==> The router's tests again, interpreted"
    WINDLASS_PURE=1 .venv/bin/python -m pytest -q tests/router -m "not slow"
fi
