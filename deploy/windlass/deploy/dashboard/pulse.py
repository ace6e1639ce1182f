"""Rates, percentiles and courses of the last minutes, from overviews taken every other second.

Plain values: the moment is given with each overview.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.model.instance import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windlass.deploy.api.schema import OverviewView

WINDOW = 60.0  # seconds that rates and percentiles look back
HISTORY = 900.0  # seconds that courses look back


@dataclass(frozen=True, slots=True)
class Recent:
    """What the last minute's requests were like; None: there was none, or it is not known yet."""

    requests_per_second: float | None = None
    p50: float | None = None  # seconds
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """What held from a moment on."""

    time: float
    ready: int
    starting: int
    in_flight: int
    queued: int


class Pulse:
    """The overviews of the last minute, and the courses of the last quarter of an hour."""

    def __init__(self) -> None:
        self.latest: dict[str, OverviewView] = {}
        self.time = 0.0
        self._looks: deque[tuple[float, Mapping[str, OverviewView]]] = deque()
        self._courses: dict[str, deque[Point]] = {}

    def take(self, now: float, views: Sequence[OverviewView]) -> None:
        """Take an overview of all services; `now`: Unix seconds."""
        self.time, self.latest = now, {view.name: view for view in views}
        self._looks.append((now, self.latest))
        while len(self._looks) > 2 and self._looks[1][0] <= now - WINDOW:
            self._looks.popleft()
        self._courses = {
            name: self._courses.get(name, deque(maxlen=int(HISTORY))) for name in self.latest
        }
        for name, view in self.latest.items():
            _note(self._courses[name], now, view)

    def recent(self, name: str) -> Recent:
        """Return what a service's requests of the last minute were like."""
        then, first = self._looks[0] if self._looks else (self.time, {})
        view = self.latest.get(name)
        passed = self.time - then
        if view is None or passed <= 0:
            return Recent()
        before = first.get(name)
        if before is None or before.requests > view.requests:  # it is new, or counts anew
            counted = dict(view.latency)
            requests = view.requests
        else:
            old = dict(before.latency)
            counted = {bound: count - old.get(bound, 0) for bound, count in view.latency}
            requests = view.requests - before.requests
        return Recent(requests / passed, quantile(counted, 0.5), quantile(counted, 0.99))

    def course(self, name: str) -> list[Point]:
        """Return a service's course: each point holds up to the next one."""
        return list(self._courses.get(name, ()))


def quantile(buckets: Mapping[float | None, int], share: float) -> float | None:
    """Return a quantile of a histogram, None if it is empty.

    Linear between a bucket's bounds, as Prometheus' histogram_quantile does; in the open bucket,
    its lower bound. Only buckets with something in them are known, so that a bucket begins at the
    largest known bound below its own, or at half of its own where that is further up.
    """
    bounds = sorted((b for b, count in buckets.items() if count > 0 and b is not None))
    wanted = sum(buckets.values()) * share
    if wanted <= 0:
        return None
    seen, below = 0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if seen + count >= wanted:
            begin = max(below, bound / 2)
            return begin + (bound - begin) * (wanted - seen) / count
        seen, below = seen + count, bound
    return below


def _note(course: deque[Point], now: float, view: OverviewView) -> None:
    point = Point(
        now,
        view.instances.get(State.READY, 0),
        view.instances.get(State.STARTING, 0),
        view.in_flight,
        view.queued,
    )
    while len(course) > 1 and course[1].time <= now - HISTORY:
        course.popleft()
    if not course or _facts(course[-1]) != _facts(point):
        course.append(point)


def _facts(point: Point) -> tuple[int, int, int, int]:
    return point.ready, point.starting, point.in_flight, point.queued
