"""Counters of one instance and of one revision between two reports: integers only, O(1) a change.

Every method takes the moment (CLOCK_MONOTONIC nanoseconds); nothing here knows a clock or the link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from windlass.router.link import InstanceReport, RevisionReport

if TYPE_CHECKING:
    from mypy_extensions import i64

_MILLISECOND: Final = 1_000_000

# Upper bounds in ns, each included; a latency above the last has the index len(LATENCY_BUCKETS).
# Close where answers usually are: a quantile is estimated from within one bucket.
LATENCY_BUCKETS: Final[tuple[int, ...]] = tuple(
    milliseconds * _MILLISECOND
    for milliseconds in (
        *(1, 2, 3, 5, 7, 10, 15, 25, 35, 50, 75, 100, 150, 200, 250, 350, 500, 750),
        *(1_000, 1_500, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000),
    )
)


class InstanceCounts:
    """What one instance did since its last report."""

    __slots__ = ("busy", "busy_since", "first_duration", "invocation_milliseconds", "requests")

    def __init__(self) -> None:
        self.busy: list[tuple[int, int]] = []
        self.busy_since: int | None = None
        self.requests = 0
        self.invocation_milliseconds = 0
        self.first_duration = 0  # ns, of the first request ever

    def begin_busy(self, now: int) -> None:
        """In-flight went from 0 to 1."""
        self.busy_since = now

    def end_busy(self, now: int) -> None:
        """In-flight went from 1 to 0."""
        if self.busy_since is not None:
            self.busy.append((self.busy_since, now))
            self.busy_since = None

    def count_request(self, duration: int) -> None:
        """Count a request that held a slot for `duration` ns, rounded up to a millisecond."""
        self.requests += 1
        if not self.first_duration:
            self.first_duration = duration
        self.invocation_milliseconds += -(-duration // _MILLISECOND)

    def report(self, instance: str, in_flight: int) -> InstanceReport | None:
        """Return what happened since the last report, None if nothing did, and start anew."""
        if not (self.requests or self.busy or self.busy_since is not None):
            return None
        report = InstanceReport(
            id=instance,
            in_flight=in_flight,
            requests=self.requests,
            busy=tuple(self.busy),
            busy_since=self.busy_since,
            invocation_milliseconds=self.invocation_milliseconds,
            first_duration=self.first_duration,
        )
        self.busy = []
        self.requests = self.invocation_milliseconds = 0
        return report


class RevisionCounts:
    """What happened to one revision's requests since its last report."""

    __slots__ = (
        "_same",
        "_status",
        "at",
        "cold_starts",
        "demand",
        "in_flight",
        "latency",
        "latency_sum",
        "max_in_flight",
        "packed",
        "queued",
        "responses",
        "shadow",
    )

    def __init__(self, shadow_concurrency: int, now: int) -> None:
        # Machine integers, since each request computes with them twice: what they come to between
        # two reports is far below 2**63.
        self.shadow: i64 = shadow_concurrency
        self.at: i64 = now  # moment up to which the integrals are computed
        self.in_flight: i64 = 0
        self.queued: i64 = 0
        self.demand: i64 = 0
        self.packed: i64 = 0
        self.max_in_flight: i64 = 0
        self.responses: dict[int, int] = {}  # all but the `_same`
        self._status = 0  # of the last answer
        self._same = 0  # answers with it in a row
        self.latency = [0] * (len(LATENCY_BUCKETS) + 1)
        self.latency_sum = 0
        self.cold_starts: list[int] = []

    def advance(self, now: int) -> None:
        """Bring the integrals up to `now`; to be called before in_flight or queued change."""
        moment: i64 = now
        passed = moment - self.at
        self.at = moment
        if passed and (self.in_flight or self.queued):
            self.demand += passed * (self.in_flight + self.queued)
            self.packed += passed * -(-self.in_flight // self.shadow)

    def count_response(self, status: int, latency: int) -> None:
        """Count an answer as the client saw it; `latency` in ns from request head to answer end."""
        if status != self._status:
            self._note_status()
            self._status = status
        self._same += 1
        bucket = 0
        # Most end in the first few: compiled, that is less than a call of bisect.
        for bound in LATENCY_BUCKETS:
            if latency <= bound:
                break
            bucket += 1
        latencies = self.latency
        latencies[bucket] = latencies[bucket] + 1  # compiled, += is a call of Python's
        self.latency_sum += latency

    def _note_status(self) -> None:
        """Put those counted in a row, most of all answers, to the others."""
        if self._same:
            self.responses[self._status] = self.responses.get(self._status, 0) + self._same
            self._same = 0

    def report(self, name: str, now: int) -> RevisionReport | None:
        """Return what happened since the last report, None if nothing did, and start anew."""
        self.advance(now)
        self._note_status()
        if not (self.demand or self.responses or self.in_flight or self.queued):
            return None
        report = RevisionReport(
            name=name,
            in_flight=self.in_flight,
            queued=self.queued,
            demand=self.demand,
            packed=self.packed,
            responses=tuple(sorted(self.responses.items())),
            latency=tuple((i, count) for i, count in enumerate(self.latency) if count),
            latency_sum=self.latency_sum,
            cold_starts=tuple(self.cold_starts),
            max_in_flight=self.max_in_flight,
        )
        self.demand = self.packed = self.latency_sum = 0
        self.max_in_flight = self.in_flight
        self.responses = {}
        self.latency = [0] * (len(LATENCY_BUCKETS) + 1)
        self.cold_starts = []
        return report
