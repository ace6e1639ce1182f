from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.autoscaler.window import SECOND, Window

MINUTE = 60 * SECOND


def test_a_constant_demand_averages_to_itself_over_both_windows() -> None:
    window = Window(MINUTE)
    for second in range(120):
        window.report(second * SECOND, (second + 1) * SECOND, 20 * SECOND, 20)
    assert window.average(120 * SECOND, MINUTE) == 20
    assert window.average(120 * SECOND, 6 * SECOND) == 20


def test_a_young_window_is_averaged_from_its_first_demand_on() -> None:
    window = Window(MINUTE)
    window.report(100 * SECOND, 104 * SECOND, 8 * SECOND, 2)
    assert window.average(104 * SECOND, MINUTE) == 2


def test_a_few_milliseconds_are_averaged_over_one_second() -> None:
    window = Window(MINUTE)
    window.report(0, SECOND // 10, 10 * SECOND, 0)
    assert window.average(SECOND // 10, MINUTE) == 10


def test_a_level_counts_until_the_next_report() -> None:
    window = Window(MINUTE)
    window.report(0, 10 * SECOND, 50 * SECOND, 5)
    assert window.average(20 * SECOND, MINUTE) == 5
    window.rise(20 * SECOND, 15)
    assert window.average(30 * SECOND, MINUTE) == pytest.approx((100 + 150) / 30)


def test_a_report_replaces_what_levels_said_of_its_time() -> None:
    window = Window(MINUTE)
    window.rise(0, 200)
    window.rise(SECOND, 100)
    window.report(0, 2 * SECOND, 40 * SECOND, 0)
    assert window.average(2 * SECOND, MINUTE) == 20


def test_silence_between_two_demands_counts_as_none() -> None:
    window = Window(MINUTE)
    window.report(0, SECOND, 60 * SECOND, 0)
    window.report(39 * SECOND, 40 * SECOND, 60 * SECOND, 0)
    assert window.average(40 * SECOND, MINUTE) == 3


def test_after_a_whole_window_of_silence_the_average_starts_anew() -> None:
    window = Window(MINUTE)
    window.report(0, SECOND, 60 * SECOND, 0)
    assert window.average(61 * SECOND, MINUTE) == 0
    window.report(99 * SECOND, 101 * SECOND, 10 * SECOND, 0)
    assert window.average(101 * SECOND, MINUTE) == 5


def test_the_last_demand_is_now_while_requests_are_there_and_remembered_after() -> None:
    window = Window(MINUTE)
    assert window.demand_at(5) is None
    window.rise(7 * SECOND, 1)
    assert window.demand_at(9 * SECOND) == 9 * SECOND
    window.report(0, 10 * SECOND, SECOND, 0)
    assert window.demand_at(50 * SECOND) == 10 * SECOND


def test_what_left_the_window_is_forgotten() -> None:
    window = Window(6 * SECOND)
    for second in range(1000):
        window.report(second * SECOND, (second + 1) * SECOND, SECOND, 1)
    assert len(window._reported) <= 7


@given(st.lists(st.tuples(st.integers(1, SECOND), st.integers(0, 1000)), min_size=1, max_size=200))
def test_an_average_lies_between_the_lowest_and_the_highest_level(
    levels: list[tuple[int, int]],
) -> None:
    window, now = Window(MINUTE), 0
    for length, level in levels:
        window.report(now, now + length, length * level, level)
        now += length
    for span in (MINUTE, 6 * SECOND):
        assert 0 <= window.average(now, span) <= max(level for _, level in levels) * (1 + 1e-9)


@given(st.lists(st.tuples(st.integers(1, SECOND), st.integers(1, 9)), min_size=1, max_size=50))
def test_an_average_is_the_integral_over_the_length(reports: list[tuple[int, int]]) -> None:
    window, now, integral = Window(MINUTE), 0, 0
    for length, level in reports:
        window.report(now, now + length, length * level, 0)
        now += length
        integral += length * level
    assert window.average(now, MINUTE) == pytest.approx(integral / max(now, SECOND))
