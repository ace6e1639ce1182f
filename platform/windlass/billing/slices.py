"""Cuts an instance's life into slices of one kind each: plain arithmetic on moments.

Moments are integer nanoseconds of any one clock; what a slice costs is not known here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Stretch = tuple[int, int]  # [begin, end)


class Kind(StrEnum):
    """What an instance does during a slice."""

    STARTUP = "startup"
    BUSY = "busy"  # at least one request in flight
    IDLE = "idle"
    SHUTDOWN = "shutdown"  # from SIGTERM to the end


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """The moments of an instance's life; None: not yet, or never."""

    started: int
    ready: int | None = None
    stopping: int | None = None
    ended: int | None = None


class Slice(NamedTuple):
    """The stretch [begin, end) of an instance's life."""

    kind: Kind
    begin: int
    end: int


def slices(life: Life, busy: Iterable[Stretch], until: int) -> list[Slice]:
    """Return the slices that tile the life up to its end, or to `until` where that is earlier.

    An instance that was never ready is starting up to its end. What is busy outside of
    [ready, stopping) is cut off: a request that is under way when SIGTERM is sent is part of the
    shutdown. Slices of no length are left out.
    """
    end = until if life.ended is None else min(life.ended, until)
    ready = _within(life.ready, life.started, end)
    stopping = end if life.ready is None else _within(life.stopping, ready, end)
    cuts = [Slice(Kind.STARTUP, life.started, ready)]
    at = ready
    for begin, finish in union(busy, ready, stopping):
        if at < begin:
            cuts.append(Slice(Kind.IDLE, at, begin))
        cuts.append(Slice(Kind.BUSY, begin, finish))
        at = finish
    cuts += [Slice(Kind.IDLE, at, stopping), Slice(Kind.SHUTDOWN, stopping, end)]
    return [cut for cut in cuts if cut.begin < cut.end]


def union(stretches: Iterable[Stretch], begin: int, end: int) -> list[Stretch]:
    """Return the union of stretches inside [begin, end), disjoint and in order.

    Stretches that touch become one.
    """
    joined: list[Stretch] = []
    for first, last in sorted(stretches):
        first, last = max(first, begin), min(last, end)
        if first >= last:
            continue
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _within(moment: int | None, begin: int, end: int) -> int:
    """Return the moment, `end` where there is none, moved into [begin, end]."""
    return min(max(begin, end if moment is None else moment), end)
