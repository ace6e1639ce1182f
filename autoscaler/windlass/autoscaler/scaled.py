"""What the autoscaler knows of one revision: what was heard, decided and started lately.

Values and arithmetic; what is done with them is the loop's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.autoscaler.decide import Memory, Observation
from windlass.autoscaler.reconcile import Backoff
from windlass.autoscaler.window import SECOND, Window
from windlass.model.instance import State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from windlass.autoscaler.decide import Decision, Kind
    from windlass.model.instance import Instance
    from windlass.model.service import Revision

STARTS_AVERAGED = 10
TELL_EVERY = 1.0  # seconds between decisions told that start and stop nothing


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision and what it was made from; `time` in seconds of the clock."""

    time: float
    desired: int
    kind: Kind
    reason: str
    observation: Observation


class Scaled:
    """One revision that is being scaled."""

    def __init__(self, revision: Revision, decisions_kept: int) -> None:
        scaling = revision.template.scaling
        self._stable = int(scaling.stable_window * SECOND)
        self._panic = int(scaling.panic_window * SECOND)
        self._window = Window(max(self._stable, self._panic))
        self._in_flight = 0
        self._queued = 0
        self._starts: deque[int] = deque(maxlen=STARTS_AVERAGED)
        self.revision = revision
        self.reachable = True
        self.refused = ""  # why there may be no instance now
        self.checks: list[asyncio.Future[None]] = []  # deployments that wait for an instance
        self.memory = Memory()
        self.backoff = Backoff()
        self.explained: deque[Explained] = deque(maxlen=decisions_kept)

    def starve(self, now: int, queued: int, in_flight: int) -> None:
        """Take what the router says between two reports."""
        self._queued, self._in_flight = queued, in_flight
        self._window.rise(now, queued + in_flight)

    def dismiss(self, now: int) -> None:
        """Take it that those who waited were answered."""
        self.starve(now, 0, self._in_flight)

    def report(self, begin: int, end: int, in_flight: int, queued: int, demand: int) -> None:
        """Take a report."""
        self._queued, self._in_flight = queued, in_flight
        self._window.report(begin, end, demand, queued + in_flight)

    def became_ready(self, instance: Instance) -> None:
        """Count how long an instance took to become ready."""
        if instance.ready is not None:
            self._starts.append(instance.ready - instance.started)

    @property
    def average_start(self) -> float | None:
        """Mean seconds from start to ready of the latest instances; None: unknown."""
        return sum(self._starts) / len(self._starts) / SECOND if self._starts else None

    def observe(self, now: int, instances: Sequence[Instance]) -> Observation:
        """Return what is known at `now` ns."""
        ready = [i for i in instances if i.state is State.READY]
        moments = [i.ready for i in ready if i.ready is not None]
        if (demand := self._window.demand_at(now)) is not None:
            moments.append(demand)
        return Observation(
            now=now / SECOND,
            ready=len(ready),
            starting=sum(i.state is State.STARTING for i in instances),
            in_flight=self._in_flight,
            queued=self._queued,
            stable=self._window.average(now, self._stable),
            panic=self._window.average(now, self._panic),
            last_demand=max(moments) / SECOND if moments else None,
            reachable=self.reachable,
            checking=bool(self.checks),
            refused=self.refused,
        )

    def explain(self, seen: Observation, decision: Decision, *, acted: bool) -> bool:
        """Keep a decision whose number or kind is new; return whether it is worth telling.

        While requests wait, every one of them asks for another number: what changes nothing is
        kept once per tick.
        """
        last = self.explained[-1] if self.explained else None
        if last and (last.desired, last.kind) == (decision.desired, decision.kind):
            return False
        if last and not acted and seen.now - last.time < TELL_EVERY:
            return False
        self.explained.append(
            Explained(seen.now, decision.desired, decision.kind, decision.reason, seen)
        )
        return True
