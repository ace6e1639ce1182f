"""Counters: what a report says, and that each starts anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.router.stats import LATENCY_BUCKETS, InstanceCounts, RevisionCounts

MILLISECOND = 1_000_000


@given(st.lists(st.integers(0, 10**12)))
def test_each_latency_lies_in_exactly_one_bucket_not_above_its_bound(latencies: list[int]) -> None:
    counts = RevisionCounts(80, now=0)
    for latency in latencies:
        counts.count_response(200, latency)
    bounds = (*LATENCY_BUCKETS, 10**13)
    for index, bound in enumerate(bounds):
        assert sum(counts.latency[: index + 1]) == sum(latency <= bound for latency in latencies)
    assert counts.latency_sum == sum(latencies)


@given(st.lists(st.integers(0, 10**10), min_size=1))
def test_each_duration_is_rounded_up_by_itself(durations: list[int]) -> None:
    counts = InstanceCounts()
    for duration in durations:
        counts.count_request(duration)
    report = counts.report("a", 0)
    assert report is not None
    rounded = [duration // MILLISECOND + bool(duration % MILLISECOND) for duration in durations]
    assert report.invocation_milliseconds == sum(rounded)
    assert report.requests == len(durations)
    assert report.first_duration == next((d for d in durations if d), 0)


def test_an_open_stretch_is_reported_until_it_is_closed_and_then_once() -> None:
    counts = InstanceCounts()
    counts.begin_busy(5)
    first = counts.report("a", 1)
    counts.end_busy(9)
    second = counts.report("a", 0)
    assert first is not None
    assert (first.busy, first.busy_since) == ((), 5)
    assert second is not None
    assert (second.busy, second.busy_since) == (((5, 9),), None)
    assert counts.report("a", 0) is None


def test_the_integrals_start_anew_with_each_report() -> None:
    counts = RevisionCounts(shadow_concurrency=2, now=0)
    counts.in_flight, counts.queued = 3, 1
    first = counts.report("r", 10)
    second = counts.report("r", 15)
    assert first is not None
    assert (first.demand, first.packed) == (40, 20)
    assert second is not None
    assert (second.demand, second.packed) == (20, 10)


def test_the_answers_are_counted_by_status() -> None:
    counts = RevisionCounts(80, now=0)
    for status in (200, 404, 200):
        counts.count_response(status, MILLISECOND)
    report = counts.report("r", 1)
    assert report is not None
    assert report.responses == ((200, 2), (404, 1))
    assert report.latency == ((0, 3),)
    assert counts.report("r", 2) is None
