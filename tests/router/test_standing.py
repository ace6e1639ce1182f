"""When an instance is set aside, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.router.pool import SECOND
from windlass.router.standing import MAX_ASIDE_TIME, MAX_FAILURES, Standing


def test_five_failures_in_a_row_are_bad() -> None:
    standing = Standing()
    standing.fail(4)
    assert not standing.is_bad()
    standing.answer()
    standing.fail(4)
    assert not standing.is_bad()
    standing.fail()
    assert standing.is_bad()


def test_each_time_without_an_answer_between_is_thirty_seconds_longer() -> None:
    standing = Standing()
    for expected in (30, 60, 90):
        standing.set_aside(0)
        assert standing.aside_until == expected * SECOND
        standing.come_back()
    standing.answer()
    standing.set_aside(0)
    assert standing.aside_until == 30 * SECOND


@given(st.lists(st.sampled_from(["fail", "answer", "aside", "back"]), max_size=100))
def test_only_a_row_of_failures_is_bad_and_no_time_is_without_end(steps: list[str]) -> None:
    standing = Standing()
    in_a_row = 0
    for now, step in enumerate(steps):
        if step == "fail":
            standing.fail()
            in_a_row += 1
        elif step == "answer":
            standing.answer()
            in_a_row = 0
        elif step == "aside":
            standing.set_aside(now)
            assert now < standing.aside_until <= now + MAX_ASIDE_TIME
        else:
            standing.come_back()
            in_a_row = 0
        assert standing.is_bad() is (in_a_row >= MAX_FAILURES)
