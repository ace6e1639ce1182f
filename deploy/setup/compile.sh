#!/bin/bash
# Compile the router's hot path anew where its sources changed since, and say how it runs.
# Without a compiler, or with WINDLASS_PURE=1, the same sources are interpreted.
set -euo pipefail
cd "$(dirname "$0")/../.."

state=router/windlass/router/compiled.py
python=.venv/bin/python

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "${WINDLASS_PURE:-}" != 1 ]; then
    packages=$($python -P $state --packages)
    if [ -n "$packages" ]; then
        echo "==> Install a compiler with apt-get: $packages"
        # shellcheck disable=SC2086  # a list of words
        deploy/setup/apt-install.sh $packages || true
    fi
fi
if $python -P $state --due; then
    echo "==> Compile the router's hot path (half a minute)"
    $python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
fi
echo "==> The router is $($python -P $state)"
