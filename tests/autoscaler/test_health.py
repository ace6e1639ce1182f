from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.autoscaler.health import Streak


def test_the_verdict_changes_with_the_last_failure_allowed_and_the_first_success() -> None:
    streak = Streak(3)
    told = [
        streak.take(passed) for passed in (False, False, True, False, False, False, False, True)
    ]
    assert told == [False, False, False, False, False, True, False, True]
    assert streak.passing


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_it_fails_exactly_while_the_last_attempts_all_failed(
    attempts: list[bool], threshold: int
) -> None:
    streak = Streak(threshold)
    for number, passed in enumerate(attempts, 1):
        streak.take(passed)
        last = attempts[max(0, number - threshold) : number]
        assert streak.passing == (len(last) < threshold or any(last))
