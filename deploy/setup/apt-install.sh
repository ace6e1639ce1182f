#!/bin/bash
# Install Debian packages as root, showing what is downloaded: apt-install.sh PACKAGE...
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install --yes --quiet --no-install-recommends "$@" |
    sed -unE '/^(Need to get|Get:|Fetched|E:|W:)/ s/^/    /p'
