"""What a service may cost, and what is done when it has cost that much."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec


class Period(StrEnum):
    """A stretch of the calendar of UTC, after which a budget begins anew."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Action(StrEnum):
    """What happens when a budget is spent."""

    WARN = "warn"  # it is said: event, metric, bill
    CAP = "cap"  # besides, no instance runs until the period is over


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a service may cost in each period, by the price book of its mode."""

    amount: Decimal  # in the book's currency, above 0
    period: Period
    action: Action = Action.WARN
