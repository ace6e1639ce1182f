"""A client's own record of a load that a kill ended, and what it says of the ledger: arithmetic."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windlass.billing.slices import union

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000_000  # ns
ALLOWED = 1.0  # seconds that a kill may cost
CLIENT_LAG = 0.25  # seconds by which a client waits longer than is served, on a busy machine


@dataclass(slots=True)
class Request:
    """One request, in CLOCK_MONOTONIC nanoseconds."""

    begin: int
    end: int | None = None
    answered: bool = False  # whole, with 200


@dataclass(slots=True)
class Record:
    """All requests up to a kill."""

    requests: list[Request] = field(default_factory=list)
    killed: int = 0

    @contextlib.contextmanager
    def request(self) -> Iterator[Request]:
        """Note one request from its sending to its answer."""
        request = Request(time.monotonic_ns())
        self.requests.append(request)
        yield request
        request.end = time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class Counted:
    """What the platform says that it has counted so far."""

    requests: int
    busy: float  # seconds
    heard: int = 0  # CLOCK_MONOTONIC ns up to which it says that everything is counted; 0: unsaid


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one kill cost, at most: a client waits a little longer than a router counts."""

    sent: int
    counted: int
    lost_requests: int  # answered a second or more before the kill, and not counted
    busy: float  # seconds that the client had a request under way
    lost: float  # seconds of them that are not in the ledger
    admitted: float  # seconds before the kill of which the platform says that it knows nothing
    is_sound: bool  # nothing counted twice, no more lost than may be, and that is admitted


def judge(record: Record, before: Counted, after: Counted) -> Verdict:
    """Compare what was counted from one kill to the next with the client's record."""
    stretches = [
        (each.begin, record.killed if each.end is None else each.end) for each in record.requests
    ]
    busy = sum(end - begin for begin, end in union(stretches, 0, record.killed)) / SECOND
    counted = after.requests - before.requests
    lost = busy - (after.busy - before.busy)
    latest = record.killed - round(ALLOWED * SECOND)
    answered = sum(
        each.answered and each.end is not None and each.end <= latest for each in record.requests
    )
    lost_requests = max(0, answered - counted)
    sent = len(record.requests)
    admitted = (record.killed - after.heard) / SECOND if after.heard else 0.0
    sound = counted <= sent and lost_requests == 0 and 0 <= lost <= ALLOWED
    sound = sound and lost <= admitted + CLIENT_LAG
    return Verdict(sent, counted, lost_requests, busy, lost, admitted, sound)
