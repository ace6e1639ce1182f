from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.autoscaler.health import Streak, failing
from windlass.model.service import Probe


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


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (Probe(), "its liveness probe (tcp) failed 3 times in a row"),
        (Probe(kind="http", path="/up", failure_threshold=1), "(http GET /up) failed once"),
        (Probe(kind="grpc"), "(grpc) failed"),
        (Probe(kind="grpc", grpc_service="shop.Orders"), "(grpc shop.Orders) failed"),
    ],
)
def test_a_failing_probe_is_named_with_what_it_asks_for(probe: Probe, words: str) -> None:
    assert words in failing("liveness", probe)
