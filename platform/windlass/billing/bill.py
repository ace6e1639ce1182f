"""Writes bills: usage times price book, exact in Decimal; also what other modes would have cost."""

from __future__ import annotations

from collections import defaultdict
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING

import msgspec

from windlass.billing.book import UNITS, Invocations, Measure
from windlass.billing.quantities import SECOND, quantities
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from windlass.billing.book import Book, Price, Rounding
    from windlass.billing.quantities import Quantities
    from windlass.billing.usage import Usage

# Digits in which quantities (nanoseconds times bytes over 2**30) and amounts are exact. Where a
# price is for a number of units such as 3600, the amount is rounded to as many digits.
PRECISION = 64
_PRICES = Context(prec=20)  # unit prices are shown, not multiplied with

ITEMS = {
    Measure.CPU_ACTIVE: "CPU",
    Measure.CPU_IDLE: "CPU, idle",
    Measure.MEMORY_ACTIVE: "memory",
    Measure.MEMORY_IDLE: "memory, idle",
    Measure.MEMORY_HELD: "memory, always ready",
    Measure.DURATION: "duration",
    Measure.PROVISIONED: "provisioned concurrency",
    Measure.PROVISIONED_DURATION: "duration, provisioned",
    Measure.STORAGE: "ephemeral storage",
    Measure.REQUESTS: "requests",
    Measure.PERIOD: "time",
}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line: quantity times unit price."""

    measure: Measure
    item: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """A usage priced with a book. Nothing is rounded but what the book's rules round."""

    book: str
    title: str
    mode: Mode  # that the book prices
    currency: str
    actual: bool  # everything ran in that mode; False: at least in part what would have been
    lines: tuple[Line, ...]
    total: Decimal
    rounding: Decimal  # part of the total that is there for rounding up
    rounding_is_most: bool  # at most that: durations are metered in whole milliseconds
    billed_instance_seconds: Decimal
    requests: int
    assumptions: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()  # of the book's rules, and of the prices that were used

    @property
    def per_million_requests(self) -> Decimal | None:
        """Return what a million such requests cost; None: there was none."""
        return self.total * 1_000_000 / self.requests if self.requests else None


def bill(
    usage: Usage, book: Book, *, free_tier: bool = False, rounding: Rounding | None = None
) -> Bill:
    """Return the bill of a usage.

    Args:
        usage: from `Ledger.usage`; months of UTC count for free and volume tiers.
        book: whose prices and rules hold.
        free_tier: whether what is free each month is taken off.
        rounding: instead of the book's own.
    """
    with localcontext(prec=PRECISION):
        found = quantities(usage, book, rounding)
        lines = _priced(found, book, free_tier)
        total = _total(lines)
        exact = _total(_priced(quantities(usage, book, "none"), book, free_tier))
        seconds = _plain(Decimal(found.billed) / SECOND)
    modes = {instance.mode for instance in usage.instances}
    return Bill(
        book=book.name,
        title=book.title,
        mode=book.mode,
        currency=book.currency,
        actual=modes <= {book.mode},
        lines=lines,
        total=total,
        rounding=_plain(total - exact),
        rounding_is_most=isinstance(book.billing, Invocations),
        billed_instance_seconds=seconds,
        requests=usage.total().requests,
        assumptions=(*found.assumptions, *_said(book, free_tier)),
        unconfirmed=tuple(book.doubts({line.measure for line in lines})),
    )


def money(amount: Decimal, currency: str = "USD") -> str:
    """Return an amount for people: four decimals, or four digits where it is under a cent."""
    sign = "-" if amount < 0 else ""
    unit = "$" if currency == "USD" else f"{currency} "
    size = abs(amount)
    if size == 0 or size >= Decimal("0.01"):
        return f"{sign}{unit}{size:,.4f}"
    digits = 3 - size.adjusted()
    return f"{sign}{unit}{size:.{digits}f}"


def _priced(found: Quantities, book: Book, free_tier: bool) -> tuple[Line, ...]:
    return tuple(line for price in book.prices for line in _lines(found, price, free_tier))


def _total(lines: Iterable[Line]) -> Decimal:
    return sum((line.amount for line in lines), Decimal(0))


def _lines(found: Quantities, price: Price, free_tier: bool) -> Iterator[Line]:
    """Yield a line for each tier that something falls into, and one for what is free."""
    in_tiers: dict[int, Decimal] = defaultdict(Decimal)
    free, discount = Decimal(0), Decimal(0)
    for month in found.months.values():
        quantity = month.get(price.measure, Decimal(0))
        parts = list(_split(quantity, price))
        for index, part in parts:
            in_tiers[index] += part
        if free_tier:
            unit = price.steps()[0].price if price.free_price is None else price.free_price
            cost = sum((part * price.steps()[i].price for i, part in parts), Decimal(0))
            free += min(quantity, price.free)
            discount += min(cost, min(quantity, price.free) * unit)
    for index, quantity in sorted(in_tiers.items()):
        tier = price.steps()[index]
        yield _line(price, ITEMS[price.measure], quantity, quantity * tier.price / price.per)
    if free:
        yield _line(price, f"{ITEMS[price.measure]}, free", -free, -discount / price.per)


def _split(quantity: Decimal, price: Price) -> Iterator[tuple[int, Decimal]]:
    """Yield (index of the tier, quantity in it)."""
    below = Decimal(0)
    for index, tier in enumerate(price.steps()):
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        if top > below:
            yield index, top - below
            below = top


def _line(price: Price, item: str, quantity: Decimal, amount: Decimal) -> Line:
    return Line(
        measure=price.measure,
        item=item,
        quantity=_plain(quantity),
        unit=UNITS[price.measure],
        unit_price=_plain(_PRICES.divide(amount, quantity)),
        amount=_plain(amount),
    )


def _plain(number: Decimal) -> Decimal:
    """Return the number without zeros at its end, and never as 4E+1."""
    short = number.normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short


def _said(book: Book, free_tier: bool) -> Iterable[str]:
    yield from book.assumptions
    if free_tier:
        yield "Each calendar month's (UTC) free tier is taken off, as if nothing else used it."
    if any(price.tiers for price in book.prices):
        yield "Volume tiers begin anew each calendar month (UTC), as if nothing else counted."
