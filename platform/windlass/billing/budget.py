"""Whether a budget is spent: a pure function of what was spent in its period, and the moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from windlass.billing.bill import money
from windlass.model.budget import Action, Budget, Period


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in the period [begin, end), in Unix seconds."""

    budget: Budget
    begin: int
    end: int
    spent: Decimal
    currency: str = "USD"

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.budget.amount

    @property
    def is_capped(self) -> bool:
        """Whether no instance may run before the period's end."""
        return self.is_spent and self.budget.action is Action.CAP

    def sentence(self) -> str:
        """Say what was spent of what, and when the period ends."""
        budget = self.budget
        spent = money(self.spent, self.currency)
        of = f"{money(budget.amount, self.currency)} per {budget.period}"
        told = f"{spent} of {of} spent since {_moment(self.begin)} UTC"
        if self.is_capped:
            return f"{told}: no instance runs until {_moment(self.end)} UTC"
        return f"{told}; the next {budget.period} begins at {_moment(self.end)} UTC"


def period_of(period: Period, now: float) -> tuple[int, int]:
    """Return the Unix seconds at which the period around `now` begins and ends, in UTC."""
    moment = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    if period is Period.HOUR:
        end = moment + timedelta(hours=1)
    elif period is Period.DAY:
        moment = moment.replace(hour=0)
        end = moment + timedelta(days=1)
    else:
        moment = moment.replace(day=1, hour=0)
        end = (moment + timedelta(days=31)).replace(day=1)
    return int(moment.timestamp()), int(end.timestamp())


def judge(budget: Budget, spent: Decimal, now: float, currency: str = "USD") -> Verdict:
    """Return how the budget stands.

    Args:
        budget: what may be spent.
        spent: since the beginning of the period around `now`, which `period_of` tells.
        now: Unix seconds.
        currency: of both.
    """
    begin, end = period_of(budget.period, now)
    return Verdict(budget=budget, begin=begin, end=end, spent=spent, currency=currency)


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
