"""What the dashboard shows of this moment, from what the platform holds in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import msgspec

from windlass.billing.book import InstanceTime
from windlass.billing.slices import Kind, Life, slices, union
from windlass.deploy.api.schema import OverviewView, SliceView, TimelineView
from windlass.deploy.bill_views import in_order
from windlass.model.service import Mode
from windlass.router.stats import LATENCY_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from windlass.billing.book import Book, Rate
    from windlass.billing.slices import Slice, Stretch
    from windlass.model.instance import Instance, State
    from windlass.model.service import Revision, Service
    from windlass.telemetry.metrics import ServiceCounts

Shown = Literal["startup", "busy", "idle", "frozen", "shutdown"]

SECOND = 1_000_000_000  # ns
BOUNDS = (*(bound / SECOND for bound in LATENCY_BUCKETS), None)
INVOCATION_RATES: dict[Kind, Rate] = {Kind.STARTUP: "active", Kind.BUSY: "active"}


def overview_view(
    service: Service,
    revision: Revision | None,
    url: str,
    states: Mapping[State, int],
    counts: ServiceCounts,
) -> OverviewView:
    """Return how a service does; `revision`: the latest ready one."""
    buckets = zip(BOUNDS, counts.latency, strict=False)
    return OverviewView(
        name=service.name,
        url=url,
        ready=revision is not None,
        mode=Mode.CLOUDRUN if revision is None else revision.template.mode,
        instances=dict(states),
        in_flight=counts.in_flight,
        queued=counts.queued,
        requests=counts.requests,
        errors=counts.errors,
        cold_starts=counts.cold_starts,
        latency=tuple((bound, count) for bound, count in buckets if count),
    )


def rates_of(revision: Revision, books: Mapping[str, Book]) -> dict[Kind, Rate]:
    """Return the rate of each kind of slice in the book that the revision's mode is charged by."""
    mode = revision.template.mode
    known = in_order(books, throttled=revision.template.limits.cpu_throttling)
    book = next((book for book in known if book.mode is mode), None)
    if book is None or not isinstance(book.billing, InstanceTime):
        return INVOCATION_RATES
    rates = book.billing.rates
    held = bool(revision.template.scaling.min_instances)
    return {
        Kind.STARTUP: rates.startup,
        Kind.BUSY: rates.busy,
        Kind.IDLE: rates.warm if held else rates.idle,
        Kind.SHUTDOWN: rates.shutdown,
    }


def timeline_view(
    instance: Instance,
    busy: Sequence[Stretch],
    resolution: int,
    rates: Mapping[Kind, Rate],
    frozen: Sequence[Stretch],
    now: int,
) -> TimelineView:
    """Return an instance's slices up to `now`, its moments as Unix seconds by the clock of today.

    Args:
        instance: which.
        busy: when it had requests in flight.
        resolution: nanoseconds; shorter pauses are not known.
        rates: by kind of slice; a kind that is not there is free.
        frozen: when it had no CPU; while it is idle, that is what is shown.
        now: CLOCK_MONOTONIC nanoseconds, as all moments here.
    """
    offset = time.time_ns() - time.monotonic_ns()
    life = Life(
        started=instance.started,
        ready=instance.ready,
        stopping=instance.stopping,
        ended=instance.ended,
    )
    return TimelineView(
        instance=instance.id,
        revision=instance.revision,
        slices=tuple(
            SliceView(
                kind=kind,
                begin=(begin + offset) / SECOND,
                end=(end + offset) / SECOND,
                rate=rates.get(cut.kind, "free"),
            )
            for cut in slices(life, busy, now)
            for kind, begin, end in _shown(cut, frozen)
        ),
        resolution=resolution / SECOND,
    )


def _shown(cut: Slice, frozen: Sequence[Stretch]) -> Iterator[tuple[Shown, int, int]]:
    """Yield what is shown of a slice: the frozen parts of an idle one are told apart."""
    at = cut.begin
    if cut.kind is Kind.IDLE:
        for begin, end in union(frozen, cut.begin, cut.end):
            if at < begin:
                yield "idle", at, begin
            yield "frozen", begin, end
            at = end
    if at < cut.end:
        yield cut.kind.value, at, cut.end


def lately(view: TimelineView, since: float) -> TimelineView:
    """Return the part of a timeline from `since` on."""
    return msgspec.structs.replace(
        view, slices=tuple(cut for cut in view.slices if cut.end > since)
    )
