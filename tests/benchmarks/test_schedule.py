from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from windlass.bench.schedule import arrivals, check, client_starts, packed_seconds

RATES = st.floats(0.5, 500)
DURATIONS = st.floats(0.1, 20)
FRACTIONS = st.floats(0, 1)
MOMENTS = st.lists(st.integers(0, 40), max_size=40).map(sorted)


@given(RATES, DURATIONS, FRACTIONS)
def test_arrivals_begin_at_zero_rise_and_end_before_the_duration(
    rate: float, duration: float, part: float
) -> None:
    moments = list(arrivals(rate, duration, duration * part))
    assert moments[0] == 0
    assert all(before < after for before, after in pairwise(moments))
    assert moments[-1] < duration


@given(RATES, DURATIONS, FRACTIONS)
def test_there_are_as_many_arrivals_as_the_rate_sums_up_to(
    rate: float, duration: float, part: float
) -> None:
    ramp = duration * part
    expected = rate * (duration - ramp / 2)
    assert abs(len(list(arrivals(rate, duration, ramp))) - expected) <= 1


@given(RATES, DURATIONS, FRACTIONS)
def test_after_the_ramp_arrivals_are_evenly_spaced(
    rate: float, duration: float, part: float
) -> None:
    ramp = duration * part
    steady = [moment for moment in arrivals(rate, duration, ramp) if moment >= ramp]
    assert all(math.isclose(b - a, 1 / rate, rel_tol=1e-6) for a, b in pairwise(steady))


def test_in_the_ramp_the_rate_grows_linearly() -> None:
    moments = list(arrivals(100, 10, 10))
    halves = sum(moment < 5 for moment in moments), sum(moment >= 5 for moment in moments)
    assert halves == (125, 375)


def test_a_constant_rate_has_exact_moments() -> None:
    assert list(arrivals(4, 1, 0)) == [0, 0.25, 0.5, 0.75]


def test_clients_begin_evenly_over_the_ramp() -> None:
    assert client_starts(4, 2) == [0, 0.5, 1, 1.5]


@pytest.mark.parametrize(
    ("rate", "duration", "ramp", "named"),
    [
        (0, 1, 0, "rate"),
        (math.inf, 1, 0, "rate"),
        (1, 0, 0, "duration"),
        (1, 1, -1, "ramp"),
        (1, 1, 2, "ramp"),
    ],
)
def test_a_number_that_makes_no_sense_is_named(
    rate: float, duration: float, ramp: float, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        check(rate, duration, ramp)


@given(MOMENTS, st.integers(1, 10), st.integers(1, 5))
def test_packed_seconds_are_the_integral_of_the_instances_needed(
    moments: list[int], service: int, concurrency: int
) -> None:
    naive = sum(
        math.ceil(sum(begin <= tick < begin + service for begin in moments) / concurrency)
        for tick in range(60)
    )
    assert packed_seconds(moments, service, concurrency) == naive


@given(MOMENTS, st.integers(1, 10), st.integers(1, 5), st.integers(1, 7))
@example([18, 18, 21, 21], 3, 1, 2)
def test_each_instances_busy_stretches_are_rounded_up(
    moments: list[int], service: int, concurrency: int, grain: int
) -> None:
    needed = [
        math.ceil(sum(begin <= tick < begin + service for begin in moments) / concurrency)
        for tick in range(60)
    ]
    naive = 0
    for level in range(1, 50):
        busy = "".join("x" if count >= level else " " for count in needed)
        naive += sum(math.ceil(len(stretch) / grain) * grain for stretch in busy.split())
    assert packed_seconds(moments, service, concurrency, grain) == naive


def test_one_instance_carries_what_overlaps() -> None:
    assert math.isclose(packed_seconds(arrivals(100, 10, 0), 0.2, 80), 10.19)
