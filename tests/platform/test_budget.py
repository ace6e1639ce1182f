"""Budgets: periods of the calendar that leave no gap, and verdicts on what was spent in them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.billing.budget import judge, period_of
from windlass.model.budget import Action, Budget, Period

MOMENTS = st.floats(0, 4e9)
MONEY = st.decimals(min_value="0.01", max_value=1000, places=2)
BUDGETS = st.builds(
    Budget, amount=MONEY, period=st.sampled_from(Period), action=st.sampled_from(Action)
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@given(st.sampled_from(Period), MOMENTS)
def test_every_moment_is_in_one_period_and_the_next_begins_where_it_ends(
    period: Period, now: float
) -> None:
    begin, end = period_of(period, now)
    assert begin <= now < end
    assert period_of(period, begin) == (begin, end)
    assert period_of(period, end)[0] == end
    assert period_of(period, begin - 1)[1] == begin


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        (Period.HOUR, "2028-02-29T13:00", "2028-02-29T14:00"),
        (Period.DAY, "2028-02-29T00:00", "2028-03-01T00:00"),
        (Period.MONTH, "2028-02-01T00:00", "2028-03-01T00:00"),
    ],
)
def test_periods_are_the_calendars(period: Period, begin: str, end: str) -> None:
    assert period_of(period, at("2028-02-29T13:59:59")) == (at(begin), at(end))


def test_a_year_ends_with_december() -> None:
    assert period_of(Period.MONTH, at("2026-12-31T23:59:59"))[1] == at("2027-01-01T00:00")


def test_a_day_has_24_hours_when_clocks_change_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    begin, end = period_of(Period.DAY, at("2026-10-25T12:00"))
    assert (begin, end - begin) == (at("2026-10-25T00:00"), 86_400)


@given(BUDGETS, MONEY, MONEY, MOMENTS)
def test_a_budget_is_spent_from_its_amount_on_and_stays_so_within_its_period(
    budget: Budget, spent: Decimal, more: Decimal, now: float
) -> None:
    verdict = judge(budget, spent, now)
    assert verdict.is_spent == (spent >= budget.amount)
    assert verdict.is_capped == (verdict.is_spent and budget.action is Action.CAP)
    assert (verdict.begin, verdict.end) == period_of(budget.period, now)
    if verdict.is_spent:
        assert judge(budget, spent + more, now).is_spent
        assert judge(budget, spent, verdict.begin).is_spent
    assert not judge(budget, Decimal(0), verdict.end).is_spent  # a new period


def test_a_verdict_says_what_was_spent_of_what_and_until_when() -> None:
    budget = Budget(amount=Decimal(5), period=Period.DAY, action=Action.CAP)
    verdict = judge(budget, Decimal("5.02"), at("2026-11-27T15:00"))
    assert verdict.sentence() == (
        "$5.0200 of $5.0000 per day spent since 2026-11-27 00:00 UTC: "
        "no instance runs until 2026-11-28 00:00 UTC"
    )
    warned = msgspec.structs.replace(budget, action=Action.WARN)
    assert (
        judge(warned, Decimal("5.02"), at("2026-11-27T15:00"))
        .sentence()
        .endswith("spent since 2026-11-27 00:00 UTC; the next day begins at 2026-11-28 00:00 UTC")
    )
