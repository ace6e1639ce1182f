#!/bin/bash
# Install the programs that tests talk to, where this is Debian or Ubuntu and we are root: a browser,
# HTTP clients and servers, and the parts of the oci runtime. Elsewhere their tests are skipped.
set -euo pipefail
here=$(dirname "$0")

packages=(
    chromium fonts-dejavu-core libatomic1                         # a browser, and what drives it
    curl nghttp2-client nginx-light prometheus                    # clients, a peer, promtool
    caddy haproxy slowhttptest                                    # other proxies, an attacker
    docker-registry                                               # images to pull
    busybox-static conmon containernetworking-plugins             # the oci runtime, from here on
    golang-github-containers-common iproute2 iptables runc skopeo umoci
)

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi

missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
        missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then exit 0; fi

echo "==> Install what tests need with apt-get (two minutes): ${missing[*]}"
# Servers are started by tests; the packages' own must not start here.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
"$here/apt-install.sh" "${missing[@]}"
