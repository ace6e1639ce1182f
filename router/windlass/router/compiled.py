"""Which modules of the router are compiled where it is installed, and whether they are used.

mypyc compiles them from these very sources (`hatch_build.py`) into `_compiled/`, beside a file that
names the sources' hash. They are imported from there only while the hash fits, so an edited source
is never hidden by what was compiled of it before. WINDLASS_PURE=1 in the environment leaves them
aside. Knows nothing but the standard library: the build loads this file by its path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

# What a request of HTTP/1 passes through. Not what runs a few times a second, nor HTTP/2, which
# spends its time in h2.
MODULES = (
    "body",
    "bulk",
    "chunked",
    "dispatch",
    "endpoint",
    "errors",
    "exchange",
    "grammar",
    "headers",
    "http1",
    "levels",
    "limits",
    "pace",
    "pool",
    "responses",
    "retries",
    "routes",
    "stall",
    "standing",
    "stats",
    "tracing",
    "tunnel",
    "upstream",
)
GROUP = "windlass.router.hot"  # mypyc names the library that they share after it
PURE = "WINDLASS_PURE"
_NEVER = "not compiled"
_CHANGED = "changed since it was compiled"
_NOTE = "built"  # the file with the hash of what was compiled, and why it could not be


def directory(package: Path) -> Path:
    """Return where the compiled modules of the package at this path are."""
    return package / "_compiled"


def digest(package: Path) -> str:
    """Return the hash of the sources, and of the interpreter they are compiled for."""
    found = hashlib.sha256(str(sysconfig.get_config_var("SOABI")).encode())
    for name in ("compiled", *MODULES):
        found.update((package / f"{name}.py").read_bytes())
    return found.hexdigest()


def write_note(package: Path, sources: str, fault: str = "") -> None:
    """Note the digest of the sources that were compiled, or why they could not be."""
    (directory(package) / _NOTE).write_text(f"{sources}\n{fault}\n")


def why_pure(package: Path) -> str:
    """Return why the sources are interpreted; empty: the compiled modules are used."""
    if os.environ.get(PURE) == "1":
        return f"{PURE}=1"
    try:
        noted, fault = (directory(package) / _NOTE).read_text().splitlines()
    except (OSError, ValueError):
        return _NEVER
    if noted != digest(package):
        return _CHANGED
    return fault


def missing_packages() -> list[str]:
    """Return Debian's names of what is not there to compile with."""
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    found = {
        "gcc": shutil.which(compiler) is not None,
        "python3-dev": Path(sysconfig.get_path("include"), "Python.h").exists(),
    }
    return [package for package, is_there in found.items() if not is_there]


def is_due(package: Path) -> bool:
    """Tell whether compiling is possible and was not tried with these sources."""
    return not missing_packages() and why_pure(package) in (_NEVER, _CHANGED)


def describe() -> str:
    """Return how the router runs, in a few words."""
    reason = why_pure(Path(__file__).parent)
    return f"interpreted ({reason})" if reason else "compiled"


def main(arguments: list[str]) -> int:
    """Answer the setup's questions: --due (by the exit status), --packages, or how it runs."""
    if "--due" in arguments:
        return 0 if is_due(Path(__file__).parent) else 1
    print(" ".join(missing_packages()) if "--packages" in arguments else describe())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
