"""How money and quantities are written for people: rounded. What is exact is in --json."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from windlass.billing.bill import PRECISION

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGITS = 4  # significant digits of what is small


def total(values: Iterable[Decimal]) -> Decimal:
    """Return the sum, exact."""
    with localcontext(prec=PRECISION):
        return sum(values, Decimal(0))


def quantity(value: Decimal) -> str:
    """Return a quantity with three decimals, or four digits where it is under one."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if value == value.to_integral_value():
        return f"{value:.0f}"
    places = 3 if size >= 1 else DIGITS - 1 - value.adjusted()
    return f"{value:.{places}f}"


def exact(value: Decimal) -> str:
    """Return a quantity in full, up to twelve decimals."""
    text = f"{round(value, 12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def unit_price(value: Decimal, currency: str) -> str:
    """Return a price in full, up to twelve decimals."""
    unit = "$" if currency == "USD" else f"{currency} "
    return ("-" if value < 0 else "") + unit + exact(abs(value))


def amount_of(number: str, unit: str) -> str:
    """Return a number with its unit as tables have room for it: 5 vCPU-s, or 5 for 5 requests."""
    return number if unit == "request" else f"{number} {unit.replace('-second', '-s')}"
