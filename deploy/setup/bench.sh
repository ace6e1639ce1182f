#!/bin/bash
# Run a measurement on the image of examples/static (or IMAGE): bench.sh MEASUREMENT [ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/setup/test-tools.sh
deploy/setup/base-image.sh
docker build --quiet --build-arg BASE=windlass/base --tag windlass/static examples/static >&2
measurement=$1
shift
deploy/setup/compile.sh
exec .venv/bin/python -m "windlass.bench.$measurement" --image "${IMAGE:-windlass/static}" "$@"
