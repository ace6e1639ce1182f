#!/bin/bash
# Provide the image windlass/base, a Debian with Python 3, that the example and the tests' images
# stand on: pulled where a registry is reachable, else made on this machine with debootstrap.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=windlass/base
pulled=python:3.12-slim
suite=bookworm

if docker image inspect "$tag" >/dev/null 2>&1; then exit 0; fi

echo "==> Pull $pulled (up to two minutes)"
if timeout 120 docker pull "$pulled"; then
    docker tag "$pulled" "$tag"
    exit 0
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: $pulled could not be pulled, and making a base image here takes root on Debian or
       Ubuntu. Next step: docker tag AN-IMAGE-WITH-PYTHON-3 $tag (of the Debian kind), or run
       this as root." >&2
    exit 1
fi

echo "==> No registry in reach: make a Debian $suite with Python here (about a minute)"
if ! command -v debootstrap >/dev/null; then
    deploy/setup/apt-install.sh debootstrap debian-archive-keyring
fi
root=$(mktemp --directory /var/tmp/windlass-base.XXXXXX) # /tmp may forbid devices
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase --include=python3 "$suite" "$root" |
    sed -uE '/^I: (Retrieving|Validating|Extracting|Unpacking|Configuring) /d; s/^/    /'
echo "==> Import it as $tag"
tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --create . |
    docker import --message "debootstrap $suite" - "$tag"
