#!/bin/bash
# Run the demo on the example's image where an engine answers, else on the process runtime. RUNTIME
# (auto, oci or docker) says what runs instances; the image is built with docker in any case.
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/setup/compile.sh

runtime=${RUNTIME:-auto}
case $runtime in auto | oci) deploy/setup/oci-parts.sh ;; esac
if [ "$runtime" != process ] &&
    timeout 10 docker version >/dev/null 2>&1 && deploy/setup/base-image.sh; then
    echo "==> Build the example's image"
    docker build --build-arg BASE=windlass/base --tag windlass/hello examples/hello
    exec .venv/bin/python -m windlass.deploy.demo --runtime "$runtime" --image windlass/hello
fi
echo "==> Run the demo on the process runtime"
exec .venv/bin/python -m windlass.deploy.demo --runtime process
