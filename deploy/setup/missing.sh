#!/bin/bash
# Install those Debian packages that are missing, without starting what they bring, where this is
# Debian or Ubuntu and we are root: missing.sh WHAT PACKAGE...
set -euo pipefail
here=$(dirname "$0")
what=$1
shift

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi

missing=()
for package in "$@"; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
        missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then exit 0; fi

echo "==> Install $what with apt-get (up to two minutes): ${missing[*]}"
# Servers are started by whoever needs them; the packages' own must not start here.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
"$here/apt-install.sh" "${missing[@]}"
