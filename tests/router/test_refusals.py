"""What requests are told that get no slot."""

from __future__ import annotations

import pytest

from windlass.router.link import RevisionRoute
from windlass.router.pool import Reason, Refused
from windlass.router.refusals import too_many, waited_in_vain

ROUTE = RevisionRoute(name="shop-00001", service="shop", queue_wait=12.0)
SPENT = RevisionRoute(name="shop-00001", service="shop", refusal="$5 of $5 per day spent")


def test_who_waited_in_vain_is_told_for_how_long() -> None:
    problem = waited_in_vain(ROUTE)
    assert (problem.status, problem.kind) == (429, "queue-wait")
    assert "within 12 s" in problem.detail


@pytest.mark.parametrize("reason", list(Reason))
def test_a_spent_budget_is_the_reason_whatever_the_limit(reason: Reason) -> None:
    for problem in (waited_in_vain(SPENT), too_many(Refused(reason, 0), SPENT)):
        assert (problem.status, problem.kind) == (429, "budget-spent")
        assert problem.detail == "$5 of $5 per day spent."
        assert problem.retry_after == 60


def test_a_full_queue_and_a_limit_are_told_apart() -> None:
    assert "800 requests wait" in too_many(Refused(Reason.QUEUE_FULL, 800), ROUTE).detail
    assert "3 requests are under way" in too_many(Refused(Reason.AT_LIMIT, 3), ROUTE).detail
