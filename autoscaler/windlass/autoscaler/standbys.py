"""Has the runtime keep containers made ahead for the revisions that may need one.

How many is said in a revision's template; when they are made is decided here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from windlass.runtime.base import RuntimeFault, Start

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.model.service import Revision
    from windlass.runtime.base import Standby, Waiting

log = structlog.get_logger(__name__)

SECOND = 1_000_000_000  # ns
PAUSE_AFTER_FAULT = 60.0  # seconds


def due(wanted: int, waiting: int, *, starting: bool, paused: bool) -> bool:
    """Return whether to make or remove containers now.

    None is made while an instance boots: it would take the CPU that a request waits for.
    """
    if waiting > wanted:
        return True
    return waiting < wanted and not starting and not paused


class Standbys:
    """The containers of all revisions that stand by; without a runtime that has any, none."""

    def __init__(self, standby: Standby | None, clock: Callable[[], int]) -> None:
        self._standby = standby
        self._clock = clock
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._paused: dict[str, int] = {}  # revision -> moment until which none is made

    def keep(self, revision: Revision, wanted: int, *, starting: bool) -> None:
        """Bring a revision to the wanted number, if now is the time for it.

        `starting`: some instance, of whatever revision, is being started.
        """
        if self._standby is None or revision.name in self._keeping:
            return
        paused = self._clock() < self._paused.get(revision.name, 0)
        count = len(self._standby.waiting(revision.name))
        if due(wanted, count, starting=starting, paused=paused):
            task = asyncio.create_task(self._keep(self._standby, revision, wanted))
            self._keeping[revision.name] = task
            task.add_done_callback(lambda _: self._keeping.pop(revision.name))

    async def drop(self, revision: str) -> None:
        """Remove all of a revision that is no more."""
        if self._standby is None:
            return
        if task := self._keeping.get(revision):
            await asyncio.wait([task])
        self._paused.pop(revision, None)
        try:
            await self._standby.drop(revision)
        except RuntimeFault as fault:
            log.warning("runtime fault", revision=revision, fault=str(fault))

    def waiting(self, revision: str) -> list[Waiting]:
        """Return what stands by for a revision."""
        return self._standby.waiting(revision) if self._standby else []

    async def settle(self) -> None:
        """Wait for what is being made or removed."""
        if self._keeping:
            await asyncio.wait(self._keeping.values())

    async def _keep(self, standby: Standby, revision: Revision, wanted: int) -> None:
        template = revision.template
        request = Start(
            instance="",
            revision=revision.name,
            service=revision.service,
            container=template.container,
            limits=template.limits,
            image_digest=revision.image_digest,
        )
        try:
            await standby.keep(request, wanted)
        except RuntimeFault as fault:
            self._paused[revision.name] = self._clock() + round(PAUSE_AFTER_FAULT * SECOND)
            log.warning("nothing can be made ahead", revision=revision.name, fault=str(fault))
        except Exception:
            self._paused[revision.name] = self._clock() + round(PAUSE_AFTER_FAULT * SECOND)
            log.exception("nothing can be made ahead", revision=revision.name)
