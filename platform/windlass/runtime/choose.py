"""Opens the runtime that the user chose, or the best one that this machine has."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import structlog

from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.docker import Docker
from windlass.runtime.oci import Oci
from windlass.runtime.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from windlass.runtime.base import Runtime

log = structlog.get_logger(__name__)

Choice = Literal["auto", "docker", "process", "oci"]

# Best first: oci starts an instance in the least time; process runs no images.
DRIVERS: Mapping[str, Callable[[Path, str], Runtime]] = {
    "oci": Oci,
    "docker": lambda state, state_id: Docker(state_id),
    "process": Process,
}


async def choose(
    choice: Choice, state: Path, drivers: Mapping[str, Callable[[Path, str], Runtime]] = DRIVERS
) -> Runtime:
    """Return the chosen runtime, opened; for `auto` the first of `drivers` that opens.

    It is said in the log which one it is, and why not those before it.

    Raises:
        RuntimeUnavailable: it does not open; for `auto`: none does.
    """
    names = list(drivers) if choice == "auto" else [choice]
    refusals: dict[str, str] = {}
    for name in names:
        runtime = drivers[name](state, identity(state))
        try:
            await runtime.open()
        except RuntimeUnavailable as fault:
            if choice != "auto":
                raise
            refusals[name] = str(fault)
        else:
            log.info("runtime chosen", runtime=name, why=_why(choice, refusals))
            if name == "process":
                log.info("this runtime runs commands, not images: deploy with --exec 'COMMAND'")
            return runtime
    raise RuntimeUnavailable("no runtime works here", _told(refusals))


def identity(state: Path) -> str:
    """Return what tells the platform of this state folder from others on the machine."""
    return hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]


def _why(choice: Choice, refusals: Mapping[str, str]) -> str:
    if choice != "auto":
        return "as asked"
    return _told(refusals) or "the best there is"


def _told(refusals: Mapping[str, str]) -> str:
    return "; ".join(f"not {name}: {fault}" for name, fault in refusals.items())
