#!/bin/bash
# Install what the oci runtime stands on, where this is Debian or Ubuntu and we are root; elsewhere
# Windlass uses another runtime.
exec "$(dirname "$0")/missing.sh" "the oci runtime's parts" \
    conmon containernetworking-plugins crun golang-github-containers-common iproute2 iptables \
    runc skopeo umoci util-linux
