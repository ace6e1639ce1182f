"""What the same requests would cost at other concurrencies: arithmetic, by the bill's own code.

Every request begins when it began and takes as long as it took; only the number of instances that
they share changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from windlass.billing.bill import bill
from windlass.billing.rows import Amounts
from windlass.billing.slices import union
from windlass.billing.usage import InstanceUsage, Usage
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from windlass.billing.book import Book
    from windlass.billing.slices import Stretch

CONCURRENCIES = (1, 2, 3, 5, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150, 250, 400, 600, 800, 1000)
ASSUMED = (
    "Each request begins when it began in cloudrun mode, and takes as long as it took there, "
    "whatever number of others shares its instance: a program that computes all the time would "
    "take longer the more share it.",
    "A request goes to the first instance that has room. Instances are there when they are needed: "
    "starts and shutdowns, which weigh less the longer a load lasts, are not added.",
)
_MILLISECOND = 1_000_000  # ns


@dataclass(frozen=True, slots=True)
class Point:
    """What the requests cost with so many at once in an instance, and what they cost alone."""

    concurrency: int
    instances: int  # most at once
    shared: Decimal
    alone: Decimal  # the same at every concurrency


def curve(
    requests: Sequence[Stretch],
    milli_cpu: int,
    memory: int,
    shared: Book,
    alone: Book,
    concurrencies: Iterable[int] = CONCURRENCIES,
) -> list[Point]:
    """Return the cost of the same requests at each concurrency.

    Args:
        requests: when each began and ended, nanoseconds of one clock.
        milli_cpu: thousandths of a vCPU of an instance.
        memory: bytes of an instance.
        shared: the book that bills instances' time.
        alone: the book that bills each request's time.
    """
    if not requests:
        return []
    taken = sum(-(-(end - begin) // _MILLISECOND) for begin, end in requests)
    points = []
    for concurrency in concurrencies:
        lives = packed(requests, concurrency)
        amounts = Amounts(
            busy=sum(end - begin for life in lives for begin, end in life),
            rounding_100ms=_rounding(lives, 100 * _MILLISECOND),
            rounding_1s=_rounding(lives, 1000 * _MILLISECOND),
            requests=len(requests),
            invocation_milliseconds=taken,
        )
        used = InstanceUsage(
            service="",
            revision="",
            instance="",
            month="",
            mode=Mode.CLOUDRUN,
            milli_cpu=milli_cpu,
            memory=memory,
            amounts=amounts,
        )
        usage = Usage(since=0, until=0, instances=(used,))
        points.append(
            Point(concurrency, len(lives), bill(usage, shared).total, bill(usage, alone).total)
        )
    return points


def packed(requests: Sequence[Stretch], concurrency: int) -> list[list[Stretch]]:
    """Return when each instance is busy if a request goes to the first one that has room."""
    taken: list[list[Stretch]] = []  # requests, by instance
    room: list[int] = []  # free slots, by instance
    free: list[int] = []  # instances with room, the first one on top
    ends: list[tuple[int, int]] = []
    for begin, end in sorted(requests):
        while ends and ends[0][0] <= begin:
            _, instance = heappop(ends)
            room[instance] += 1
            if room[instance] == 1:
                heappush(free, instance)
        if not free:
            free.append(len(taken))
            taken.append([])
            room.append(concurrency)
        instance = free[0]
        taken[instance].append((begin, end))
        heappush(ends, (end, instance))
        room[instance] -= 1
        if not room[instance]:
            heappop(free)
    return [union(of_one, of_one[0][0], max(end for _, end in of_one)) for of_one in taken]


def _rounding(lives: Iterable[Iterable[Stretch]], grain: int) -> int:
    return sum((begin - end) % grain for life in lives for begin, end in life)
