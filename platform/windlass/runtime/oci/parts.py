"""Finds the programs that the oci runtime stands on, and says which are missing and whence."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.oci.commands import SEARCHED

# Each program with its package in Debian and its derivatives.
_PACKAGES = {
    "conmon": "conmon",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
}
_RUNTIMES = ("crun", "runc")  # the faster first
_PLUGIN_FOLDERS = ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin")
_PLUGINS = ("bridge", "host-local")
_SECCOMP = Path("/usr/share/containers/seccomp.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where each part is on this machine."""

    conmon: str
    skopeo: str
    umoci: str
    iptables: str
    ip: str
    unshare: str
    runtimes: tuple[str, ...]
    cni: Path
    seccomp: Path


def locate(search: str = SEARCHED, root: Path = Path("/")) -> Parts:
    """Find all parts below `root`.

    Raises:
        RuntimeUnavailable: with the packages to install.
    """
    if os.geteuid() != 0:
        raise RuntimeUnavailable(
            "the oci runtime needs root", "run as root, or use --runtime docker"
        )
    path = ":".join(str(root / folder.lstrip("/")) for folder in search.split(":"))
    found = {name: shutil.which(name, path=path) or "" for name in _PACKAGES}
    missing = {_PACKAGES[name] for name, at in found.items() if not at}
    runtimes = tuple(at for name in _RUNTIMES if (at := shutil.which(name, path=path)))
    if not runtimes:
        missing.add(_RUNTIMES[0])
    folders = [root / folder.lstrip("/") for folder in _PLUGIN_FOLDERS]
    cni = next((f for f in folders if all((f / name).exists() for name in _PLUGINS)), None)
    if cni is None:
        missing.add("containernetworking-plugins")
    seccomp = root / _SECCOMP.relative_to("/")
    if not seccomp.exists():
        missing.add("golang-github-containers-common")
    if missing or cni is None:
        packages = " ".join(sorted(missing))
        raise RuntimeUnavailable(
            f"the oci runtime misses {packages}",
            f"apt-get install -y --no-install-recommends {packages}",
        )
    return Parts(
        conmon=found["conmon"],
        skopeo=found["skopeo"],
        umoci=found["umoci"],
        iptables=found["iptables"],
        ip=found["ip"],
        unshare=found["unshare"],
        runtimes=runtimes,
        cni=cni,
        seccomp=seccomp,
    )
