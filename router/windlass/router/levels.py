"""A pool's open instances with a free slot, by how many requests each has in flight. Pure.

Who may get a request, and what is counted of it, is the pool's concern.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from windlass.router.stats import InstanceCounts


@mypyc_attr(allow_interpreted_subclasses=True)
class Instance:
    """An instance as its pool sees it."""

    __slots__ = (
        "added",
        "counts",
        "draining",
        "id",
        "in_flight",
        "newer",
        "older",
        "open",
        "slots",
    )

    def __init__(self, instance_id: str, slots: int = 0) -> None:
        self.id = instance_id
        self.slots = slots  # leased: the most requests that may be in flight there from here
        self.in_flight = 0
        self.open = False  # may get requests: on a level of its pool while it has a slot free
        self.draining = False
        self.added = 0  # moment at which it was ready
        self.counts = InstanceCounts()
        self.newer: Instance | None = None  # its neighbours on that level
        self.older: Instance | None = None


class Levels:
    """For each number of requests in flight the instances that have as many, the newest first.

    One integer has a bit set for each level that is not empty, so that the fullest and the emptiest
    are found without a search. A level is a ring through its instances (the oldest one's `older` is
    the newest): each request moves one up and down again, and a dict for each level cost more.
    """

    __slots__ = ("_below", "_filled", "_newest", "_target")

    def __init__(self, concurrency: int) -> None:
        self._newest: list[Instance | None] = [None] * concurrency
        self._filled = 0  # bit n: level n is not empty
        self.aim(concurrency)

    def aim(self, target: int) -> None:
        """Prefer instances with fewer than so many requests."""
        self._target = target
        self._below = (1 << target) - 1

    def enter(self, instance: Instance) -> None:
        """Put an instance on its level."""
        level = instance.in_flight
        newest = self._newest[level]
        if newest is None:
            instance.newer = instance.older = instance
            self._filled |= 1 << level
        else:
            oldest = newest.newer
            assert oldest is not None
            instance.newer, instance.older = oldest, newest
            newest.newer = oldest.older = instance
        self._newest[level] = instance

    def leave(self, instance: Instance) -> None:
        """Take an instance from its level."""
        level = instance.in_flight
        newer, older = instance.newer, instance.older
        assert newer is not None
        assert older is not None
        if newer is instance:
            self._newest[level] = None
            self._filled ^= 1 << level
        else:
            newer.older, older.newer = older, newer
            if self._newest[level] is instance:
                self._newest[level] = older
        instance.newer = instance.older = None

    def choose(self) -> Instance | None:
        """Return the fullest instance below the target, else the least loaded; None: no slot free.

        Of equals the one used last: older ones stay idle.
        """
        filled = self._filled
        if not filled:
            return None
        level = filled.bit_length() - 1
        if level >= self._target:
            below = filled & self._below
            level = (below or filled & -filled).bit_length() - 1
        return self._newest[level]

    def fullest(self) -> Instance | None:
        """Return the fullest instance, of equals the one used least; None: no slot is free."""
        newest = self._newest[self._filled.bit_length() - 1] if self._filled else None
        return None if newest is None else newest.newer

    def has_room(self) -> bool:
        """Tell whether an instance is idle, or below the target."""
        return self._filled & (self._below | 1) != 0
