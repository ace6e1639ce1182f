"""What a load measured, counted as its requests end. It takes moments and knows no clock."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from windlass.bench.histogram import Histogram

SECOND = 1_000_000_000  # nanoseconds


@dataclass(slots=True)
class Second:
    """What ended in one second of the load."""

    requests: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class LoadResult:
    """What came of a load; histograms are in nanoseconds.

    An error is a request without a whole answer in time, or with a status of 400 or above.
    `latency` and `service` hold the answers without error; `latency` also holds the requests that
    ran out of time, with the time they had taken by then.
    """

    requests: int = 0  # that ended, with or without error
    errors: Counter[str] = field(default_factory=Counter)  # by reason
    statuses: Counter[int] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)  # since the request was to be sent
    service: Histogram = field(default_factory=Histogram)  # since it was sent
    work: Histogram = field(default_factory=Histogram)  # what the server says, where it does
    lateness: Histogram = field(default_factory=Histogram)  # from "to be sent" to "sent": our own
    timeline: list[Second] = field(default_factory=list)
    # (sent, answered) of each answer without error, one after the other; where it was asked for
    spans: array[int] = field(default_factory=lambda: array("q"))
    connections: int = 0  # opened
    peak_in_flight: int = 0
    elapsed: float = 0.0  # seconds from the load's begin to the last request's end

    @property
    def error_count(self) -> int:
        """Errors of all reasons."""
        return self.errors.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A load under way; rate, p50 and p99 are those since the snapshot before."""

    elapsed: float  # seconds
    in_flight: int
    requests: int
    errors: int
    rate: float  # requests ended per second
    p50: float | None  # seconds; None: nothing was answered
    p99: float | None
    latency: tuple[float, float, float] | None = None  # p50, p95 and p99 of all so far


class Tally:
    """Counts requests as they begin and end; moments are nanoseconds of one clock."""

    def __init__(self, begin: int, *, keep_spans: bool = False) -> None:
        self.result = LoadResult()
        self._keep_spans = keep_spans
        self.in_flight = 0
        self._begin = begin
        self._since = begin  # the snapshot before
        self._ended = 0  # requests up to then
        self._recent = Histogram()  # latencies since then

    def began(self) -> None:
        """A request is to be sent."""
        self.in_flight += 1
        self.result.peak_in_flight = max(self.result.peak_in_flight, self.in_flight)

    def sent(self, intended: int, now: int) -> None:
        """It was sent."""
        self.result.lateness.record(now - intended)

    def answered(self, status: int, intended: int, sent: int, now: int) -> None:
        """Its whole answer is here."""
        self.result.statuses[status] += 1
        if status >= 400:
            self.failed(f"status {status}", now)
            return
        self.result.service.record(now - sent)
        if self._keep_spans:
            self.result.spans.extend((sent, now))
        self._record_latency(now - intended, now)
        self._ended_in(now)

    def timed_out(self, reason: str, intended: int, now: int) -> None:
        """It had its time: as slow as that at least, and an error."""
        self._record_latency(now - intended, now)
        self.failed(reason, now)

    def failed(self, reason: str, now: int) -> None:
        """There will be no answer to it."""
        self.result.errors[reason] += 1
        self._ended_in(now).errors += 1

    def snapshot(self, now: int) -> Snapshot:
        """Return how the load goes, and begin the next stretch."""
        recent, ended, passed = self._recent, self.result.requests - self._ended, now - self._since
        whole = self.result.latency
        self._recent, self._ended, self._since = Histogram(), self.result.requests, now
        return Snapshot(
            elapsed=(now - self._begin) / SECOND,
            in_flight=self.in_flight,
            requests=self.result.requests,
            errors=self.result.error_count,
            rate=ended * SECOND / max(passed, 1),
            p50=recent.percentile(50) / SECOND if recent.count else None,
            p99=recent.percentile(99) / SECOND if recent.count else None,
            latency=_percentiles(whole) if whole.count else None,
        )

    def finish(self, now: int) -> LoadResult:
        """Return all that was counted."""
        self.result.elapsed = (now - self._begin) / SECOND
        return self.result

    def _record_latency(self, latency: int, now: int) -> None:
        self.result.latency.record(latency)
        self._recent.record(latency)
        self._second(now).latency.record(latency)

    def _ended_in(self, now: int) -> Second:
        self.in_flight -= 1
        self.result.requests += 1
        second = self._second(now)
        second.requests += 1
        return second

    def _second(self, now: int) -> Second:
        timeline = self.result.timeline
        number = (now - self._begin) // SECOND
        while len(timeline) <= number:
            timeline.append(Second())
        return timeline[number]


def _percentiles(latency: Histogram) -> tuple[float, float, float]:
    p50, p95, p99 = (latency.percentile(percent) / SECOND for percent in (50, 95, 99))
    return p50, p95, p99
