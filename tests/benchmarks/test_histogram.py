from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.bench.histogram import Histogram

VALUES = st.lists(st.integers(0, 4_000 * 10**9), min_size=1)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, st.floats(0, 100))
def test_a_percentile_is_within_one_percent_of_the_exact_one(
    values: list[int], percent: float
) -> None:
    rank = max(math.ceil(len(values) * percent / 100), 1)
    exact = sorted(values)[rank - 1]
    assert abs(filled(values).percentile(percent) - exact) <= exact / 100


@given(VALUES)
def test_count_sum_mean_and_maximum_are_exact(values: list[int]) -> None:
    histogram = filled(values)
    assert histogram.count == len(values)
    assert histogram.sum == sum(values)
    assert histogram.maximum == histogram.percentile(100) == max(values)
    assert histogram.mean == sum(values) / len(values)


@given(VALUES, VALUES)
def test_histograms_of_parts_add_up_to_that_of_the_whole(
    first: list[int], second: list[int]
) -> None:
    histogram = filled(first)
    histogram.add(filled(second))
    whole = filled(first + second)
    assert histogram.buckets() == whole.buckets()
    assert (histogram.count, histogram.sum, histogram.maximum) == (
        whole.count,
        whole.sum,
        whole.maximum,
    )


@given(VALUES)
def test_the_buckets_hold_every_value_in_order(values: list[int]) -> None:
    buckets = filled(values).buckets()
    assert sum(count for _, count in buckets) == len(values)
    assert buckets == sorted(buckets)


def test_an_empty_histogram_says_zero() -> None:
    histogram = Histogram()
    assert (histogram.percentile(99), histogram.mean, histogram.count) == (0, 0.0, 0)


def test_a_value_below_zero_counts_as_zero() -> None:
    assert filled([-5]).maximum == 0


@pytest.mark.parametrize("percent", [-1, 100.1, math.nan])
def test_what_is_not_a_percentage_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        filled([1]).percentile(percent)


@given(st.lists(st.integers(0, 10**10), min_size=1), st.integers(0, 5))
def test_the_slowest_can_be_left_out_of_the_mean(values: list[int], left_out: int) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    kept = sorted(values)[: max(0, len(values) - left_out)]
    if kept:
        allowed = max(values) * left_out / 100 / len(kept) + 1
        assert abs(histogram.mean_without_slowest(left_out) - sum(kept) / len(kept)) <= allowed
    else:
        assert histogram.mean_without_slowest(left_out) == 0
