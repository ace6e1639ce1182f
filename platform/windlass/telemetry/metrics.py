"""The platform's metrics: plain counters that are fed with facts and turned into text when scraped.

Names and units follow Prometheus' conventions. What the facts mean, and what costs what, is not
known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from prometheus_client.core import Metric

SECOND = 1_000_000_000  # ns
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COLD_START_BUCKETS = tuple(
    milliseconds * 1_000_000
    for milliseconds in (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
)
_LABELS = ("service", "revision")


@dataclass(slots=True)
class _Histogram:
    counts: list[int]  # per bucket, the last for what is above all bounds
    total: int = 0  # ns

    def show(
        self, family: HistogramMetricFamily, labels: Sequence[str], bounds: Sequence[int]
    ) -> None:
        """Add the cumulative counts, with the bounds in seconds."""
        names = [*(str(bound / SECOND) for bound in bounds), "+Inf"]
        sums = [float(count) for count in accumulate(self.counts)]
        family.add_metric(labels, list(zip(names, sums, strict=True)), self.total / SECOND)


@dataclass(slots=True)
class _Revision:
    service: str
    latency: _Histogram
    cold_starts: _Histogram
    responses: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    now: dict[str, tuple[int, int]] = field(default_factory=dict)  # worker -> in flight, queued
    usage: dict[str, int] = field(default_factory=dict)  # kind -> ns
    billed: int = 0  # ns


@dataclass(frozen=True, slots=True)
class ServiceCounts:
    """What was counted of all revisions of a service, as plain numbers."""

    in_flight: int = 0
    queued: int = 0
    requests: int = 0
    errors: int = 0  # of them, with a status of 500 or above
    cold_starts: int = 0
    latency: tuple[int, ...] = ()  # per bucket, the last for what is above all bounds

    def __add__(self, other: ServiceCounts) -> ServiceCounts:
        """Return the sum."""
        return ServiceCounts(
            self.in_flight + other.in_flight,
            self.queued + other.queued,
            self.requests + other.requests,
            self.errors + other.errors,
            self.cold_starts + other.cold_starts,
            tuple(a + b for a, b in zip_longest(self.latency, other.latency, fillvalue=0)),
        )


class Counters(Collector):
    """Everything counted since the platform was started."""

    def __init__(self, latency_buckets: Sequence[int]) -> None:
        """Count latencies in buckets with these upper bounds, in nanoseconds."""
        self._bounds = tuple(latency_buckets)
        self._revisions: dict[str, _Revision] = {}
        self._instances: dict[str, tuple[str, str, str]] = {}  # id -> service, revision, state
        self._costs: dict[tuple[str, str], float] = {}
        self._budgets: dict[str, tuple[float, float]] = {}  # service -> amount, spent
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count_report(
        self,
        *,
        worker: str,
        service: str,
        revision: str,
        in_flight: int,
        queued: int,
        responses: Iterable[tuple[int, int]],
        latency: Iterable[tuple[int, int]],
        latency_sum: int,
        cold_starts: Iterable[int],
    ) -> None:
        """Count what a worker's new report says of a revision.

        Args:
            worker: who reports; in-flight and queued requests are its own.
            service: the revision's.
            revision: its name.
            in_flight: requests, now.
            queued: requests, now.
            responses: (status code, count).
            latency: (index of the bucket, count).
            latency_sum: nanoseconds.
            cold_starts: nanoseconds that each request waited which met one.
        """
        counts = self._revision(service, revision)
        counts.now[worker] = (in_flight, queued)
        for status, count in responses:
            counts.responses[f"{status // 100}xx"] += count
        for index, count in latency:
            counts.latency.counts[index] += count
        counts.latency.total += latency_sum
        for wait in cold_starts:
            counts.cold_starts.counts[bisect_left(COLD_START_BUCKETS, wait)] += 1
            counts.cold_starts.total += wait

    def worker_gone(self, worker: str) -> None:
        """Forget what was in flight or queued at a worker, by its name or its part before a dot."""
        for counts in self._revisions.values():
            for name in [n for n in counts.now if n == worker or n.startswith(f"{worker}.")]:
                del counts.now[name]

    def instance_changed(self, service: str, revision: str, instance: str, state: str) -> None:
        """Take an instance's state."""
        self._instances[instance] = (service, revision, state)

    def instance_gone(self, instance: str) -> None:
        """Forget an instance that has ended."""
        self._instances.pop(instance, None)

    def set_usage(
        self, service: str, revision: str, billed: int, nanoseconds: Mapping[str, int]
    ) -> None:
        """Take what a revision used so far: billed nanoseconds, and those of each kind of slice.

        A correction that makes one less is not shown: a counter that falls counts as a restart.
        """
        counts = self._revision(service, revision)
        counts.billed = max(billed, counts.billed)
        for kind, length in nanoseconds.items():
            counts.usage[kind] = max(length, counts.usage.get(kind, 0))

    def set_cost(self, service: str, book: str, dollars: Decimal) -> None:
        """Take what a service cost so far by a price book; never shown to fall, as usage."""
        key = (service, book)
        self._costs[key] = max(float(dollars), self._costs.get(key, 0.0))

    def set_budget(self, service: str, amount: Decimal, spent: Decimal) -> None:
        """Take how a service's budget stands in its present period."""
        self._budgets[service] = (float(amount), float(spent))

    def drop_budget(self, service: str) -> None:
        """Take it that a service has no budget any more."""
        self._budgets.pop(service, None)

    def forget(self, service: str) -> None:
        """Show nothing more of a service: it was deleted."""
        self._revisions = {n: r for n, r in self._revisions.items() if r.service != service}
        self._instances = {n: i for n, i in self._instances.items() if i[0] != service}
        self._costs = {key: cost for key, cost in self._costs.items() if key[0] != service}
        self.drop_budget(service)

    def by_service(self) -> dict[str, ServiceCounts]:
        """Return what was counted of each service."""
        found: dict[str, ServiceCounts] = {}
        for counts in self._revisions.values():
            counted = ServiceCounts(
                in_flight=sum(now[0] for now in counts.now.values()),
                queued=sum(now[1] for now in counts.now.values()),
                requests=sum(counts.responses.values()),
                errors=counts.responses.get("5xx", 0),
                cold_starts=sum(counts.cold_starts.counts),
                latency=tuple(counts.latency.counts),
            )
            known = found.get(counts.service)
            found[counts.service] = counted if known is None else known + counted
        return found

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format, see CONTENT_TYPE."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; called by prometheus-client when the platform is scraped."""
        yield from self._requests()
        yield from self._states()
        yield from self._money()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "windlass_requests",
            "Requests that were answered, by the class of the status code.",
            labels=(*_LABELS, "code_class"),
        )
        duration = HistogramMetricFamily(
            "windlass_request_duration_seconds",
            "Time from the head of a request to the end of its answer, queueing included.",
            labels=_LABELS,
        )
        cold = CounterMetricFamily(
            "windlass_cold_starts",
            "Requests that waited until their instance had started, or came while there was none.",
            labels=_LABELS,
        )
        waited = HistogramMetricFamily(
            "windlass_cold_start_duration_seconds",
            "Time that requests waited for an instance to start.",
            labels=_LABELS,
        )
        for name, counts in self._revisions.items():
            labels = (counts.service, name)
            for code_class, count in counts.responses.items():
                requests.add_metric((*labels, code_class), count)
            cold.add_metric(labels, sum(counts.cold_starts.counts))
            counts.latency.show(duration, labels, self._bounds)
            counts.cold_starts.show(waited, labels, COLD_START_BUCKETS)
        yield from (requests, duration, cold, waited)

    def _states(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily(
            "windlass_in_flight_requests", "Requests that instances serve now.", labels=_LABELS
        )
        queued = GaugeMetricFamily(
            "windlass_queued_requests", "Requests that wait for a slot now.", labels=_LABELS
        )
        instances = GaugeMetricFamily(
            "windlass_instances", "Instances by state.", labels=(*_LABELS, "state")
        )
        for name, counts in self._revisions.items():
            labels = (counts.service, name)
            in_flight.add_metric(labels, sum(now[0] for now in counts.now.values()))
            queued.add_metric(labels, sum(now[1] for now in counts.now.values()))
        for place, count in Counter(self._instances.values()).items():
            instances.add_metric(place, count)
        yield from (in_flight, queued, instances)

    def _money(self) -> Iterator[Metric]:
        usage = CounterMetricFamily(
            "windlass_instance_seconds",
            "Time that instances lived, by what they did.",
            labels=(*_LABELS, "kind"),
        )
        billed = CounterMetricFamily(
            "windlass_billed_seconds",
            "Time that is billed by the rules of the revision's own mode.",
            labels=_LABELS,
        )
        cost = CounterMetricFamily(
            "windlass_cost_dollars",
            "What a service's traffic costs by a price book, in US dollars.",
            labels=("service", "book"),
        )
        budget = GaugeMetricFamily(
            "windlass_budget_dollars",
            "What a service may cost in each period of its budget.",
            labels=("service",),
        )
        spent = GaugeMetricFamily(
            "windlass_budget_spent_dollars",
            "What a service has cost in the present period of its budget.",
            labels=("service",),
        )
        for service, (amount, used) in self._budgets.items():
            budget.add_metric((service,), amount)
            spent.add_metric((service,), used)
        for name, counts in self._revisions.items():
            labels = (counts.service, name)
            billed.add_metric(labels, counts.billed / SECOND)
            for kind, length in counts.usage.items():
                usage.add_metric((*labels, kind), length / SECOND)
        for key, dollars in self._costs.items():
            cost.add_metric(key, dollars)
        yield from (usage, billed, cost, budget, spent)

    def _revision(self, service: str, name: str) -> _Revision:
        if name not in self._revisions:
            self._revisions[name] = _Revision(
                service,
                latency=_Histogram([0] * (len(self._bounds) + 1)),
                cold_starts=_Histogram([0] * (len(COLD_START_BUCKETS) + 1)),
            )
        return self._revisions[name]
