"""Tests of what is remembered of busy instances, for showing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from windlass.billing.recent import KEPT, MOST, RecentBusy
from windlass.billing.slices import union

SECOND = 1_000_000_000


def test_what_is_reported_is_remembered_and_what_goes_on_lasts_until_now() -> None:
    recent = RecentBusy()
    recent.take("w1", "a", [(10, 20)], 30)
    assert recent.stretches("a", 40) == ([(10, 20), (30, 40)], 0)
    recent.take("w1", "a", [(30, 45)], None)
    assert recent.stretches("a", 50) == ([(10, 20), (30, 45)], 0)


def test_two_workers_make_an_instance_busy_once() -> None:
    recent = RecentBusy()
    recent.take("w1", "a", [(10, 30)], None)
    recent.take("w2", "a", [(20, 40)], None)
    assert recent.stretches("a", 50) == ([(10, 40)], 0)


def test_a_worker_that_is_gone_keeps_nothing_busy() -> None:
    recent = RecentBusy()
    recent.take("w1.5", "a", [], 10)
    recent.worker_gone("w1", 30)
    assert recent.stretches("a", 90) == ([(10, 30)], 0)


def test_an_instance_that_is_forgotten_has_no_stretches() -> None:
    recent = RecentBusy()
    recent.take("w1", "a", [(10, 20)], 30)
    recent.forget("a")
    assert recent.stretches("a", 40) == ([], 0)


def test_many_short_pauses_are_forgotten_and_the_longest_is_not() -> None:
    recent = RecentBusy()
    pause = 5 * SECOND
    for number in range(5 * MOST):
        begin = number * 10_000_000 + (pause if number > 2 * MOST else 0)
        recent.take("w1", "a", [(begin, begin + 8_000_000)], None)
    stretches, resolution = recent.stretches("a", 0)
    assert len(stretches) <= MOST
    assert 0 < resolution < pause
    gaps = [after[0] - before[1] for before, after in pairwise(stretches)]
    assert any(gap >= pause for gap in gaps)


def test_what_is_older_than_is_kept_is_forgotten_first() -> None:
    recent = RecentBusy()
    recent.take("w1", "a", [(0, 1)], None)
    far = 2 * KEPT
    for number in range(MOST):
        recent.take("w1", "a", [(far + number * SECOND, far + number * SECOND + 1)], None)
    stretches, _ = recent.stretches("a", 0)
    assert stretches[0][0] >= far


@given(st.lists(st.tuples(st.integers(0, KEPT), st.integers(1, 10 * SECOND)), max_size=900))
def test_no_busy_moment_is_ever_lost(lengths: list[tuple[int, int]]) -> None:
    recent = RecentBusy()
    for begin, length in lengths:
        recent.take("w1", "a", [(begin, begin + length)], None)
    stretches, _ = recent.stretches("a", 0)
    latest = max((begin + length for begin, length in lengths), default=0)
    whole = union([(b, b + n) for b, n in lengths], max(0, latest - KEPT), latest)
    assert union([*stretches, *whole], 0, latest) == stretches
