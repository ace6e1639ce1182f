"""What the API shows of bills and price books."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from windlass.billing.bill import ITEMS, bill
from windlass.billing.shares import shares
from windlass.deploy.api.schema import (
    BillLineView,
    BillTerms,
    BillView,
    BookBillView,
    BookView,
    BudgetView,
    GapView,
    SharesView,
    ShareView,
    TermView,
    UsageView,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from windlass.billing.bill import Bill
    from windlass.billing.book import Book
    from windlass.billing.budget import Verdict
    from windlass.billing.shares import Share
    from windlass.billing.usage import Usage

# The books (or aliases) that are shown before the others, and where CPU is never throttled.
FIRST = ("cloudrun", "lambda")
FIRST_UNTHROTTLED = ("cloudrun-instance", "cloudrun", "lambda")
NANOSECONDS = Decimal(1_000_000_000)  # in a second


def bill_view(
    usage: Usage, books: Iterable[Book], service: str, terms: BillTerms | None = None
) -> BillView:
    """Return a usage priced with each of the books, those that are actually charged first."""
    asked = terms or BillTerms()
    bills = [
        bill(usage, book, free_tier=asked.free_tier, rounding=asked.rounding) for book in books
    ]
    total = usage.total()
    return BillView(
        service=service,
        since=usage.since,
        until=usage.until,
        usage=UsageView(
            requests=total.requests,
            cold_starts=usage.cold_starts,
            peak_instances=usage.peak_instances,
            instance_seconds=_seconds(total.startup + total.busy + total.idle + total.shutdown),
            startup_seconds=_seconds(total.startup),
            busy_seconds=_seconds(total.busy),
            idle_seconds=_seconds(total.idle),
            shutdown_seconds=_seconds(total.shutdown),
        ),
        books=tuple(_book_bill_view(b) for b in sorted(bills, key=lambda b: not b.actual)),
        gaps=tuple(
            GapView(worker=gap.worker, begin=gap.begin / 1e9, end=gap.end / 1e9)
            for gap in usage.gaps
        ),
    )


def shares_view(parts: Iterable[Usage], whole: Usage, book: Book, terms: BillTerms) -> SharesView:
    """Return a bill taken apart."""
    found = shares(parts, whole, book, free_tier=terms.free_tier, rounding=terms.rounding)
    return SharesView(
        book=book.name,
        title=book.title,
        currency=book.currency,
        shares=tuple(map(_share_view, found)),
    )


def in_order(books: Mapping[str, Book], *, throttled: bool = True) -> list[Book]:
    """Return the books as they are shown: each mode's usual one first, then by name.

    An instance whose CPU is not throttled is billed by its whole time.
    """
    first = FIRST if throttled else FIRST_UNTHROTTLED

    def place(book: Book) -> tuple[int, str]:
        names = (book.name, *book.aliases)
        known = (first.index(name) for name in names if name in first)
        return next(known, len(first)), book.name

    return sorted(books.values(), key=place)


def book_view(book: Book) -> BookView:
    """Return a price book as it is listed."""
    return BookView(
        name=book.name,
        title=book.title,
        mode=book.mode,
        source=book.sources[0],
        date=book.date.isoformat(),
    )


def budget_view(service: str, verdict: Verdict) -> BudgetView:
    """Return how a budget stands."""
    budget = verdict.budget
    return BudgetView(
        service=service,
        amount=budget.amount,
        spent=verdict.spent,
        currency=verdict.currency,
        period=budget.period,
        action=budget.action,
        since=verdict.begin,
        until=verdict.end,
        sentence=verdict.sentence(),
    )


def _book_bill_view(written: Bill) -> BookBillView:
    return BookBillView(
        book=written.book,
        title=written.title,
        mode=written.mode,
        actual=written.actual,
        billed_instance_seconds=written.billed_instance_seconds,
        lines=tuple(
            BillLineView(
                item=line.item,
                quantity=line.quantity,
                unit=line.unit,
                unit_price=line.unit_price,
                amount=line.amount,
            )
            for line in written.lines
        ),
        total=written.total,
        per_million_requests=written.per_million_requests,
        currency=written.currency,
        rounding=written.rounding,
        rounding_is_most=written.rounding_is_most,
        assumptions=written.assumptions,
        unconfirmed=written.unconfirmed,
    )


def _share_view(share: Share) -> ShareView:
    return ShareView(
        origin=share.origin.value,
        begin=share.begin,
        end=share.end,
        service=share.service,
        revision=share.revision,
        instance=share.instance,
        labels=dict(share.labels),
        requests=share.requests,
        billed_seconds=_seconds(share.billed),
        terms=tuple(
            TermView(kind=term.kind, rate=term.rate, seconds=_seconds(term.length))
            for term in share.terms
        ),
        charges=tuple(
            BillLineView(
                item=ITEMS[charge.measure],
                quantity=charge.quantity,
                unit=charge.unit,
                unit_price=charge.unit_price,
                amount=charge.amount,
            )
            for charge in share.charges
        ),
        amount=share.amount,
    )


def _seconds(nanoseconds: int) -> Decimal:
    return Decimal(nanoseconds) / NANOSECONDS
