"""The budget of retries, whatever is tried again and ends in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.router.retries import AT_LEAST, PART, RetryBudget


def test_three_may_be_tried_again_where_few_are_under_way() -> None:
    budget = RetryBudget()
    assert [budget.take(1) for _ in range(4)] == [True, True, True, False]


def test_a_fifth_may_be_tried_again_where_many_are_under_way() -> None:
    budget = RetryBudget()
    assert [budget.take(100) for _ in range(21)] == [True] * 20 + [False]


@given(st.lists(st.one_of(st.integers(0, 200), st.none()), max_size=200))
def test_never_more_than_the_larger_bound_are_tried_at_once_and_none_is_refused_below(
    steps: list[int | None],
) -> None:
    budget = RetryBudget()
    under_way = 0
    for active in steps:
        if active is None:
            if under_way:
                budget.give_back()
                under_way -= 1
        else:
            bound = max(AT_LEAST, int(active * PART))
            assert budget.take(active) is (under_way < bound)
            under_way += under_way < bound
        assert budget.used == under_way
