"""Tests of the last minutes' rates, percentiles and courses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.api.schema import OverviewView
from windlass.deploy.dashboard.pulse import HISTORY, WINDOW, Pulse, Recent, quantile
from windlass.model.service import Mode

BOUNDS = (0.1, 0.25, 1.0, 5.0, None)


def _view(requests: int, latency: dict[float | None, int], in_flight: int = 0) -> OverviewView:
    return OverviewView(
        name="a",
        url="",
        ready=True,
        mode=Mode.CLOUDRUN,
        requests=requests,
        in_flight=in_flight,
        latency=tuple(latency.items()),
    )


def test_nothing_is_said_before_the_second_look() -> None:
    pulse = Pulse()
    assert pulse.recent("a") == Recent()
    pulse.take(100.0, [_view(50, {0.1: 50})])
    assert pulse.recent("a") == Recent()


def test_the_last_minute_counts_and_what_was_before_does_not() -> None:
    pulse = Pulse()
    for second in range(0, 200, 2):
        slow = 0 if second < 100 else (second - 98) // 2
        pulse.take(second, [_view(second * 5 + slow, {0.1: second * 5, 5.0: slow})])
    recent = pulse.recent("a")
    assert recent.requests_per_second == pytest.approx(5.5)
    assert recent.p50 is not None
    assert recent.p50 <= 0.1
    assert recent.p99 == pytest.approx(5.0, abs=0.5)


def test_a_service_that_is_new_or_counts_anew_is_counted_from_zero() -> None:
    pulse = Pulse()
    pulse.take(0.0, [])
    pulse.take(10.0, [_view(20, {0.1: 20})])
    assert pulse.recent("a").requests_per_second == 2.0
    pulse.take(20.0, [_view(8, {0.1: 8})])
    assert pulse.recent("a").requests_per_second == pytest.approx(0.4)


def test_a_course_has_a_point_only_where_something_changed() -> None:
    pulse = Pulse()
    for second, in_flight in enumerate((0, 0, 3, 3, 3, 1)):
        pulse.take(float(second), [_view(0, {}, in_flight)])
    assert [(p.time, p.in_flight) for p in pulse.course("a")] == [(0, 0), (2, 3), (5, 1)]


def test_a_course_keeps_what_held_when_it_begins() -> None:
    pulse = Pulse()
    pulse.take(0.0, [_view(0, {}, 1)])
    pulse.take(10.0, [_view(0, {}, 2)])
    pulse.take(10.0 + HISTORY, [_view(0, {}, 3)])
    assert [p.in_flight for p in pulse.course("a")] == [2, 3]


def test_a_deleted_service_is_forgotten() -> None:
    pulse = Pulse()
    pulse.take(0.0, [_view(0, {}, 1)])
    pulse.take(WINDOW, [])
    assert pulse.course("a") == []
    assert pulse.recent("a") == Recent()


@given(
    st.lists(st.integers(0, 1000), min_size=5, max_size=5),
    st.floats(0.01, 1),
)
def test_a_quantile_lies_in_the_bucket_of_the_request_it_stands_for(
    counts: list[int], share: float
) -> None:
    found = quantile(dict(zip(BOUNDS, counts, strict=True)), share)
    if not sum(counts):
        assert found is None
        return
    assert found is not None
    wanted, seen = sum(counts) * share, 0
    for number, count in enumerate(counts):
        seen += count
        if count and seen >= wanted - 1e-9:
            bound = BOUNDS[number]
            assert found <= (5.0 if bound is None else bound + 1e-9)
            break


def test_quantiles_rise_with_their_share() -> None:
    buckets: dict[float | None, int] = {0.1: 5, 0.25: 80, 1.0: 10, None: 5}
    found = [quantile(buckets, share / 100) for share in range(1, 101)]
    assert all(value is not None for value in found)
    assert found == sorted(found, key=lambda value: value or 0.0)
