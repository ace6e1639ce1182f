"""Numbers, money and moments as people read them; moments are UTC, as bills are."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from windlass.billing.bill import money

NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MODES = {"cloudrun": "Cloud Run", "lambda": "Lambda"}  # of services
SHARED = {"cloudrun": "shared instances", "lambda": "one request each"}  # of price books


def count(value: int) -> str:
    """Return a whole number with its thousands set apart."""
    return f"{value:,}"


def rate(value: float | None) -> str:
    """Return a rate per second, to two digits where it is small."""
    if value is None:
        return NOTHING
    if value >= 10:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    return f"{value:.1f}" if value >= 0.05 else "< 0.1"


def latency(seconds: float | None) -> str:
    """Return a duration with its unit, to three digits at most."""
    if seconds is None:
        return NOTHING
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def span(seconds: Decimal | float) -> str:
    """Return a stretch of time: 0.35 s, 12.4 s, 3 min 20 s, 2 h 5 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def price(amount: Decimal | None, currency: str = "USD") -> str:
    """Return an amount of money."""
    return NOTHING if amount is None else money(amount, currency)


def times(own: Decimal, other: Decimal) -> str:
    """Return how many times the one the other is; empty where there is nothing to compare."""
    if not own or not other:
        return ""
    ratio = other / own
    digits = 2 if ratio < Decimal("0.1") else 1 if ratio < 100 else 0
    return f"{ratio:,.{digits}f}{TIMES}"


def quantity(value: Decimal) -> str:
    """Return a quantity with at most six decimals and no trailing zeros."""
    text = f"{round(value, 6):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def clock(time: float) -> str:
    """Return the time of day, UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")


def moment(time: float) -> str:
    """Return date and time of day, UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(time: float) -> str:
    """Return a moment for a `datetime` attribute."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
