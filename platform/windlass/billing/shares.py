"""Takes a bill apart into what each instance did in each stretch of time, adding up to its total.

What belongs to no stretch (a rounding of the whole, a volume tier, a free tier) is a share of its
own, so that nothing is spread by a rule that the provider does not have.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from windlass.billing.bill import PRECISION, bill
from windlass.billing.book import UNITS, InstanceTime, Invocations, Measure, Nothing
from windlass.billing.quantities import (
    MILLISECOND,
    Quantities,
    Term,
    instance_terms,
    invocation_milliseconds,
    provisioned,
    quantities,
)
from windlass.billing.usage import InstanceUsage, RevisionUsage, Usage
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from windlass.billing.book import Book, Rounding

_NONE = Decimal(0)


class Origin(StrEnum):
    """Where a share comes from."""

    USE = "use"  # what was done in its stretch of time
    ROUNDING = "rounding"  # an instance's time in the month is rounded up as a whole
    PERIOD = "period"  # time that passes at the same price, whatever runs
    TIERS = "tiers"  # what volume and free tiers take off the whole


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Quantity times price, at the first tier."""

    measure: Measure
    unit: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a bill. What is empty is of no one: the whole's."""

    origin: Origin
    begin: int  # Unix seconds: the stretch that it is billed for
    end: int
    service: str = ""
    revision: str = ""
    instance: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    requests: int = 0
    terms: tuple[Term, ...] = ()
    billed: int = 0  # ns
    charges: tuple[Charge, ...] = ()

    @property
    def amount(self) -> Decimal:
        """Return what it costs."""
        with localcontext(prec=PRECISION):
            return sum((charge.amount for charge in self.charges), Decimal(0))


def shares(
    parts: Iterable[Usage],
    whole: Usage,
    book: Book,
    *,
    free_tier: bool = False,
    rounding: Rounding | None = None,
) -> list[Share]:
    """Return the shares of `bill(whole, ...)`; those that nothing is paid for are left out.

    Args:
        parts: the whole, cut in stretches of time: from `Ledger.parts`; or only the whole itself.
        whole: from `Ledger.usage`, of the same stretch of time.
        book: whose prices and rules hold.
        free_tier: whether what is free each month is taken off.
        rounding: instead of the book's own.
    """
    rule = book.billing
    own = rule.rounding if isinstance(rule, InstanceTime) else None
    whole_rounding = (rounding or own) == "per_instance"
    with localcontext(prec=PRECISION):
        found = [
            share for part in parts for share in _of_part(part, book, rounding, whole_rounding)
        ]
        if whole_rounding:
            found += _roundings(whole, book)
        if isinstance(rule, Nothing):
            period = quantities(Usage(since=whole.since, until=whole.until), book, None)
            found.append(_share(Origin.PERIOD, whole, None, period, book))
        found += _tiers(whole, found, book, free_tier, rounding)
    return [share for share in found if share.charges or share.requests]


def _of_part(
    part: Usage, book: Book, rounding: Rounding | None, whole_rounding: bool
) -> Iterator[Share]:
    chosen: Rounding | None = "none" if whole_rounding else rounding
    for instance in part.instances:
        alone = Usage(since=0, until=0, instances=(instance,))
        terms = tuple(_terms(instance, book, chosen))
        priced = quantities(alone, book, chosen)
        yield _share(Origin.USE, part, instance, priced, book, terms)
    for revision in part.revisions:
        alone = Usage(since=0, until=0, revisions=(revision,))
        priced = quantities(alone, book, chosen)
        if priced.billed:
            packed = (Term("shared", "active", revision.counts.packed),)
            yield _share(Origin.USE, part, revision, priced, book, packed)


def _terms(instance: InstanceUsage, book: Book, rounding: Rounding | None) -> Iterator[Term]:
    rule = book.billing
    if isinstance(rule, InstanceTime) and instance.mode is Mode.CLOUDRUN:
        yield from instance_terms(instance, rule, rounding or rule.rounding)
    elif isinstance(rule, Invocations):
        length = invocation_milliseconds(instance.amounts, rounding) * MILLISECOND
        if length:
            yield Term("invocations", "active", length)
        if reserved := provisioned(instance, book, rounding):
            yield Term("provisioned", "active", reserved)


def _roundings(whole: Usage, book: Book) -> Iterator[Share]:
    """Yield what rounding each instance's month up adds."""
    for instance in whole.instances:
        alone = Usage(since=0, until=0, instances=(instance,))
        exact = quantities(alone, book, "none")
        added = quantities(alone, book, "per_instance")
        added.billed -= exact.billed
        for month, known in exact.months.items():
            for measure, quantity in known.items():
                added.months[month][measure] -= quantity
        terms = (Term("rounding", "active", added.billed),)
        share = _share(Origin.ROUNDING, whole, instance, added, book, terms)
        yield msgspec.structs.replace(share, requests=0)


def _tiers(
    whole: Usage, found: Sequence[Share], book: Book, free_tier: bool, rounding: Rounding | None
) -> Iterator[Share]:
    """Yield what tiers take off each measure."""
    total: dict[Measure, Decimal] = defaultdict(Decimal)
    for line in bill(whole, book, free_tier=free_tier, rounding=rounding).lines:
        total[line.measure] += line.amount
    for share in found:
        for charge in share.charges:
            total[charge.measure] -= charge.amount
    for price in book.prices:
        rest = total[price.measure]
        if rest and (price.tiers or free_tier):
            charge = Charge(
                measure=price.measure,
                unit=UNITS[price.measure],
                quantity=Decimal(0),
                unit_price=Decimal(0),
                amount=rest,
            )
            yield Share(origin=Origin.TIERS, begin=whole.since, end=whole.until, charges=(charge,))


def _share(
    origin: Origin,
    part: Usage,
    of: InstanceUsage | RevisionUsage | None,
    priced: Quantities,
    book: Book,
    terms: tuple[Term, ...] = (),
) -> Share:
    return Share(
        origin=origin,
        begin=part.since,
        end=part.until,
        service=of.service if of else "",
        revision=of.revision if of else "",
        instance=of.instance if isinstance(of, InstanceUsage) else "",
        labels=of.labels if of else (),
        requests=of.amounts.requests if isinstance(of, InstanceUsage) else 0,
        terms=terms,
        billed=priced.billed,
        charges=tuple(_charges(priced, book)),
    )


def _charges(priced: Quantities, book: Book) -> Iterator[Charge]:
    for price in book.prices:
        quantity = sum((month.get(price.measure, _NONE) for month in priced.months.values()), _NONE)
        if quantity:
            tier = price.steps()[0].price
            yield Charge(
                measure=price.measure,
                unit=UNITS[price.measure],
                quantity=quantity,
                unit_price=tier / price.per,
                amount=quantity * tier / price.per,
            )
