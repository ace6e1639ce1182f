"""When the requests of an open-loop load are to be sent, and what that keeps in flight: arithmetic.

Times are seconds from the start of the load.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def arrivals(rate: float, duration: float, ramp: float) -> Iterator[float]:
    """Yield the moment of each request before `duration`.

    The rate grows linearly from 0 during `ramp` and is `rate` per second from then on. Request k is
    due when the integral of the rate reaches k, so the first is due at 0.
    """
    check(rate, duration, ramp)
    in_ramp = rate * ramp / 2  # the integral at the ramp's end
    number = 0
    while True:
        if number < in_ramp:
            due = math.sqrt(2 * ramp * number / rate)
        else:
            due = ramp + (number - in_ramp) / rate
        if due >= duration:
            return
        yield due
        number += 1


def client_starts(clients: int, ramp: float) -> list[float]:
    """Return the moment at which each client of a closed loop begins: evenly over the ramp."""
    return [ramp * number / clients for number in range(clients)]


def check(rate: float, duration: float, ramp: float) -> None:
    """Check a load's numbers.

    Raises:
        ValueError: names the number, its value and what is allowed.
    """
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"rate must be above 0, not {rate}")
    if not (duration > 0 and math.isfinite(duration)):
        raise ValueError(f"duration must be above 0 seconds, not {duration}")
    if not 0 <= ramp <= duration:
        raise ValueError(f"ramp must be between 0 and the duration of {duration} s, not {ramp}")


def packed_seconds(
    moments: Iterable[float], service_time: float, concurrency: int, grain: float = 0.0
) -> float:
    """Return the fewest instance-seconds that can serve requests which begin at `moments`.

    It is the integral of ceil(requests in flight / concurrency), when each takes `service_time`.
    With a grain, each stretch in which one of those instances is busy is rounded up to it.
    """
    since: list[float] = []  # begin of the stretch of each instance that is busy
    total = 0.0
    changes = _needed(moments, service_time, concurrency)
    for moment, same in groupby(changes, itemgetter(0)):
        *_, (_, needed) = same  # what ends as another begins makes no gap
        while len(since) < needed:
            since.append(moment)
        while len(since) > needed:
            total += round_up(moment - since.pop(), grain)
    return total


def round_up(length: float, grain: float) -> float:
    """Return a length in whole grains, as it is without one."""
    return math.ceil(round(length / grain, 6)) * grain if grain else length


def _needed(
    moments: Iterable[float], service_time: float, concurrency: int
) -> Iterator[tuple[float, int]]:
    """Yield each moment at which requests begin or end, and the instances needed from then on."""
    ends: list[float] = []
    for moment in moments:
        while ends and ends[0] < moment:
            yield heappop(ends), -(-len(ends) // concurrency)
        while ends and ends[0] == moment:
            heappop(ends)
        heappush(ends, moment + service_time)
        yield moment, -(-len(ends) // concurrency)
    while ends:
        yield heappop(ends), -(-len(ends) // concurrency)
