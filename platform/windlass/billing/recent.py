"""Remembers when instances were busy lately, to be shown: bills come from the ledger.

What is kept is bounded: where an instance is busy and idle by turns too often, its shortest pauses
are forgotten first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windlass.billing.slices import union

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.billing.slices import Stretch

KEPT = 900 * 1_000_000_000  # ns back from the latest report
MOST = 600  # stretches per instance: more than a chart has room for
_FINEST = 1_000_000  # ns: the first pauses that are forgotten
_NEVER = 1 << 63


@dataclass(slots=True)
class _Instance:
    busy: list[Stretch] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)  # worker -> busy since
    resolution: int = 0  # ns: shorter pauses are forgotten


class RecentBusy:
    """The busy stretches of all instances, in nanoseconds of one clock."""

    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}

    def take(
        self, worker: str, instance: str, busy: Sequence[Stretch], busy_since: int | None
    ) -> None:
        """Take what a worker reports of an instance."""
        known = self._instances.setdefault(instance, _Instance())
        known.busy.extend(busy)
        known.open.pop(worker, None)
        if busy_since is not None:
            known.open[worker] = busy_since
        if len(known.busy) > MOST:
            _thin(known)

    def worker_gone(self, worker: str, now: int) -> None:
        """End what was in flight at a worker, by its name or its part before a dot."""
        for known in self._instances.values():
            for name in [n for n in known.open if n == worker or n.startswith(f"{worker}.")]:
                known.busy.append((known.open.pop(name), now))

    def forget(self, instance: str) -> None:
        """Forget an instance that is not shown any more."""
        self._instances.pop(instance, None)

    def stretches(self, instance: str, now: int) -> tuple[list[Stretch], int]:
        """Return when an instance was busy, in order, and the shortest pause that is known."""
        known = self._instances.get(instance, _Instance())
        open_until_now = [(since, now) for since in known.open.values()]
        return union([*known.busy, *open_until_now], 0, _NEVER), known.resolution


def _thin(known: _Instance) -> None:
    """Forget what is old, then the shortest pauses, until half of what may be kept is left."""
    latest = max(end for _, end in known.busy)
    known.busy = union(known.busy, latest - KEPT, _NEVER)
    while len(known.busy) > MOST // 2:
        known.resolution = max(_FINEST, known.resolution * 2)
        joined = [known.busy[0]]
        for begin, end in known.busy[1:]:
            if begin - joined[-1][1] < known.resolution:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((begin, end))
        known.busy = joined
