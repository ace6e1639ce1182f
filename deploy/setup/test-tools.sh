#!/bin/bash
# Install the programs that tests talk to, where this is Debian or Ubuntu and we are root: a browser,
# HTTP clients and servers, and the parts of the oci runtime. Elsewhere their tests are skipped.
set -euo pipefail
here=$(dirname "$0")

packages=(
    chromium fonts-dejavu-core libatomic1      # a browser, and what drives it
    curl nghttp2-client nginx-light openssl prometheus # clients, a peer, promtool
    caddy haproxy slowhttptest                 # other proxies, an attacker
    docker-registry                            # images to pull
    busybox-static                             # of small images
)

"$here/oci-parts.sh"
"$here/missing.sh" "what tests need" "${packages[@]}"
