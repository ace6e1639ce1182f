"""What every worker last said is in flight and waits, and the sums over all workers.

A place (`worker-1`) has one process at a time: what a process said is forgotten with it. What
follows from a level is not known here.
"""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """Requests of one revision."""

    in_flight: int = 0
    queued: int = 0


class Levels:
    """The latest levels by worker; what is zero is not kept."""

    def __init__(self) -> None:
        self._instances: dict[str, dict[str, int]] = {}  # instance -> place -> in flight
        self._revisions: dict[str, dict[str, Level]] = {}  # revision -> place -> level

    def set_instance(self, place: str, instance: str, in_flight: int) -> int:
        """Take what a worker has in flight on an instance; return what all have."""
        known = self._instances.setdefault(instance, {})
        known[place] = in_flight
        if not in_flight:
            del known[place]
        if not known:
            del self._instances[instance]
        return sum(known.values())

    def set_revision(self, place: str, revision: str, level: Level) -> Level:
        """Take a worker's level of a revision; return the sum of all."""
        known = self._revisions.setdefault(revision, {})
        known[place] = level
        if level == Level():
            del known[place]
        if not known:
            del self._revisions[revision]
        return Level(
            sum(each.in_flight for each in known.values()),
            sum(each.queued for each in known.values()),
        )

    def forget_instance(self, instance: str) -> None:
        """Forget an instance that has ended."""
        self._instances.pop(instance, None)

    def worker_gone(self, place: str) -> tuple[dict[str, int], dict[str, Level]]:
        """Forget what a worker said; return the new sums of what it had said something about."""
        instances = [name for name, known in self._instances.items() if place in known]
        revisions = [name for name, known in self._revisions.items() if place in known]
        return (
            {name: self.set_instance(place, name, 0) for name in instances},
            {name: self.set_revision(place, name, Level()) for name in revisions},
        )
