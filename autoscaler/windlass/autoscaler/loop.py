"""Observe, decide, perform: the only file of the autoscaler with a clock.

Every event pokes its revision's decision at once; a tick of two seconds does what time alone
brings about. What is decided, which instance it meets and how it is done is elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windlass.autoscaler.decide import Decision, Kind, Observation
    from windlass.model.instance import Instance
    from windlass.model.service import Revision
    from windlass.runtime.base import LogLine, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The autoscaler's own numbers; those of a revision are in its template."""

    tick: float = 2.0  # seconds between decisions without an event, as Knative
    stop_grace: float = 10.0  # seconds from SIGTERM to SIGKILL
    decisions_kept: int = 100  # per revision, for `explain`


class Audience(Protocol):
    """Who is told; every method is synchronous and returns at once."""

    def instance_changed(self, instance: Instance) -> None:
        """Hear of an instance's new state, before the next step is taken."""

    def start_failed(self, revision: str, reason: str) -> None:
        """Hear that no instance comes up."""

    def decided(self, revision: str, decision: Decision, now: float) -> None:
        """Hear of a decision whose number or kind is new; `now` in seconds of the clock."""

    def log_line(self, instance: str, line: LogLine) -> None:
        """Hear what an instance printed."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision and what it was made from; `time` in seconds of the clock."""

    time: float
    desired: int
    kind: Kind
    reason: str
    observation: Observation


class Autoscaler:
    """Keeps each revision at the number of instances that its traffic needs."""

    def __init__(
        self,
        runtime: Runtime,
        audience: Audience,
        settings: Settings,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._runtime = runtime
        self._audience = audience
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Scale until cancelled."""
        raise NotImplementedError

    def add(self, revision: Revision) -> None:
        """Scale a revision from now on, and begin with its minimum."""
        raise NotImplementedError

    async def check(self, revision: str) -> None:
        """Return when an instance of the revision is ready, starting one if none is.

        Raises:
            StartFailed: it does not come up; the detail has its last log lines.
        """
        raise NotImplementedError

    def set_reachable(self, revision: str, reachable: bool) -> None:
        """Say whether traffic or a tag leads to the revision; without, it goes to zero."""
        raise NotImplementedError

    async def remove(self, revision: str) -> None:
        """Drain and stop all instances of a revision, and forget it."""
        raise NotImplementedError

    def starved(self, revision: str, queued: int, in_flight: int) -> None:
        """Hear from the router that requests wait and no slot is free."""
        raise NotImplementedError

    def seen(
        self, revision: str, begin: int, end: int, in_flight: int, queued: int, demand: int
    ) -> None:
        """Hear a report: moments in ns, `demand` in request-nanoseconds over [begin, end)."""
        raise NotImplementedError

    def drained(self, instance: str) -> None:
        """Hear that nothing is in flight on a draining instance."""
        raise NotImplementedError

    def unreachable(self, instance: str, failures: int, reason: str) -> None:
        """Hear that an instance does not take connections."""
        raise NotImplementedError

    def instances(self, revision: str) -> list[Instance]:
        """Return the instances of a revision that have not ended, oldest first."""
        raise NotImplementedError

    def average_start(self, revision: str) -> float | None:
        """Return the mean seconds from start to ready of the latest instances, None: unknown."""
        raise NotImplementedError

    def explain(self, revision: str) -> list[Explained]:
        """Return the latest decisions, oldest first."""
        raise NotImplementedError

    async def adopt(self, revisions: Mapping[str, Revision]) -> None:
        """Take over what an earlier platform left running; stop what is unknown or deaf."""
        raise NotImplementedError

    async def stop(self, grace: float) -> None:
        """Drain for at most `grace` seconds, and stop everything."""
        raise NotImplementedError
