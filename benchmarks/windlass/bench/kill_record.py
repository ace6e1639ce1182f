"""A client's own record of a load that a kill ended, and what it says of the ledger: arithmetic."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from windlass.billing.slices import union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECOND = 1_000_000_000  # ns
# Seconds that a kill may cost, and that the platform may say it cost: the interval of the routers'
# reports (0.25), that of the ledger's flushes (0.5), and what a flush takes on a busy machine.
ALLOWED = 1.0


@dataclass(slots=True)
class Request:
    """One request, in CLOCK_MONOTONIC nanoseconds."""

    begin: int
    wait: int  # that the instance takes, at least
    end: int | None = None
    answered: bool = False  # whole, with 200


@dataclass(slots=True)
class Record:
    """All requests up to a kill."""

    requests: list[Request] = field(default_factory=list)
    killed: int = 0

    @contextlib.contextmanager
    def request(self, wait: int) -> Iterator[Request]:
        """Note one request from its sending to its answer."""
        request = Request(time.monotonic_ns(), wait)
        self.requests.append(request)
        yield request
        request.end = time.monotonic_ns()

    def under_way(self) -> float:
        """Return the seconds in which the client had a request under way: more than were served."""
        return _seconds(
            ((each.begin, self.killed if each.end is None else each.end) for each in self.requests),
            self.killed,
        )

    def served(self, until: int) -> float:
        """Return the seconds up to a moment in which a request was surely at the instance.

        When an answer was begun is not known: all moments at which it can have been agree on the
        middle, [end - wait, begin + wait). What overlaps it belongs to other clients' requests.
        """
        return _seconds(
            ((r.end - r.wait, r.begin + r.wait) for r in self.requests if r.answered and r.end),
            until,
        )

    def answered(self, until: int) -> int:
        """Return how many requests were answered up to a moment."""
        return sum(each.answered and (each.end or until) <= until for each in self.requests)


@dataclass(frozen=True, slots=True)
class Counted:
    """What the platform says that it has counted so far."""

    requests: int
    busy: float  # seconds
    gaps: tuple[tuple[int, int], ...] = ()  # of which it says that it knows nothing, monotonic ns


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one kill cost its one instance."""

    sent: int
    counted: int
    lost_requests: int  # answered before what is admitted, and not counted
    busy: float  # seconds that the client had a request under way
    lost: float  # seconds of them that are not in the ledger: a client waits longer than is served
    admitted: float  # seconds before the kill of which the platform says that it knows nothing
    hidden: float  # seconds before those that were served, and are not in the ledger
    is_sound: bool  # nothing counted twice, no more lost or admitted than may be, nothing hidden


def judge(record: Record, before: Counted, after: Counted) -> Verdict:
    """Compare what was counted from one kill to the next with the client's record."""
    of_this_kill = [begin for begin, end in after.gaps if end >= record.killed]
    heard = min([record.killed, *of_this_kill])
    counted = after.requests - before.requests
    counted_busy = after.busy - before.busy
    busy = record.under_way()
    verdict = Verdict(
        sent=len(record.requests),
        counted=counted,
        lost_requests=max(0, record.answered(heard) - counted),
        busy=busy,
        lost=busy - counted_busy,
        admitted=(record.killed - heard) / SECOND,
        hidden=max(0.0, record.served(heard) - counted_busy),
        is_sound=False,
    )
    return replace(verdict, is_sound=_is_sound(verdict))


def _is_sound(verdict: Verdict) -> bool:
    return (
        verdict.counted <= verdict.sent
        and verdict.lost_requests == 0
        and 0 <= verdict.lost <= ALLOWED
        and verdict.admitted <= ALLOWED
        and verdict.hidden == 0
    )


def _seconds(stretches: Iterable[tuple[int, int]], until: int) -> float:
    return sum(end - begin for begin, end in union(stretches, 0, until)) / SECOND
