"""A bill for people: what it cost beside the other mode, line by line, then every other book."""

from __future__ import annotations

import shutil
import sys
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from windlass.billing.bill import money
from windlass.deploy.cli.amounts import amount_of, quantity, unit_price
from windlass.deploy.cli.output import PIPED_WIDTH, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from windlass.deploy.api.schema import BillView, BookBillView, GapView

    Row = tuple[str, ...]

TEXT_WIDTH = 100  # columns of sentences, at most
HEAD_WIDTH = 28
GAPS_SHOWN = 5
CLOSING = ("billed instance-s", "rounding, of that", "total", "per million requests")


def pair(books: Sequence[BookBillView]) -> list[BookBillView]:
    """Return what is said to be the cost, and the first book of the other mode."""
    charged = next((book for book in books if book.actual), None)
    if charged is None:
        return list(books[:2])
    other = next((book for book in books if book.mode != charged.mode), None)
    return [charged] if other is None else [charged, other]


def print_bill(bill: BillView, detailed: Sequence[BookBillView]) -> None:
    """Print the usage, some books line by line, and the others as one line each."""
    _print_usage(bill)
    charged = next((book for book in bill.books if book.actual), None)
    for start in range(0, len(detailed), 2):
        click.echo()
        _print_beside(detailed[start : start + 2], charged)
    names = {book.book for book in detailed}
    if others := [book for book in bill.books if book.book not in names]:
        click.echo()
        _print_others(others, charged)
    _print_assumptions(detailed)
    if bill.gaps:
        click.echo()
        _print_gaps(bill.gaps)
    for budget in bill.budgets:
        click.echo()
        _print_text(f"Budget of {budget.service}: {budget.sentence}.")


def _print_usage(bill: BillView) -> None:
    usage = bill.usage
    begin = f"since {moment(bill.since)} UTC" if bill.since else "from the beginning"
    _print_text(
        f"{bill.service or 'All services'} {begin}: {usage.requests:,} requests, "
        f"{quantity(usage.instance_seconds)} instance-seconds "
        f"({quantity(usage.startup_seconds)} starting, {quantity(usage.busy_seconds)} busy, "
        f"{quantity(usage.idle_seconds)} idle, {quantity(usage.shutdown_seconds)} stopping), "
        f"instances at once: {usage.peak_instances}, cold starts: {usage.cold_starts}"
    )


def _print_beside(books: Sequence[BookBillView], charged: BookBillView | None) -> None:
    """Print one book or two, whose same items are on the same line."""
    columns = [_column(book) for book in books]
    items = list(dict.fromkeys(item for column in columns for item in column))
    items.sort(key=_place)
    heads = [_head(book, charged) for book in books]
    print_columns(
        ["", *(cell for head in heads for cell in (head, "AMOUNT"))],
        [(item, *(cell for c in columns for cell in c.get(item, ("", "")))) for item in items],
        right={2, 4},
    )


def _head(book: BookBillView, charged: BookBillView | None) -> str:
    what = "what it cost" if book is charged else "what it would have cost"
    title = textwrap.fill(book.title, HEAD_WIDTH, break_on_hyphens=False)
    return "\n".join((title, f"({book.book})", f"{what}:"))


def _place(item: str) -> int:
    """Put requests behind all kinds of time, and what closes a bill last."""
    return 1 + CLOSING.index(item) if item in CLOSING else int(item.startswith("requests"))


def _column(book: BookBillView) -> dict[str, tuple[str, str]]:
    """Return (how, amount) by item."""
    rows = {
        line.item: (
            f"{amount_of(quantity(line.quantity), line.unit)} x "
            f"{unit_price(line.unit_price, book.currency)}",
            money(line.amount, book.currency),
        )
        for line in book.lines
    }
    most = "at most" if book.rounding_is_most else ""
    million = book.per_million_requests
    closing = (
        (quantity(book.billed_instance_seconds), ""),
        (most, money(book.rounding, book.currency)),
        ("", money(book.total, book.currency)),
        ("", "" if million is None else money(million, book.currency)),
    )
    return rows | dict(zip(CLOSING, closing, strict=True))


def _print_others(books: Iterable[BookBillView], charged: BookBillView | None) -> None:
    rows = [
        (
            book.book,
            quantity(book.billed_instance_seconds),
            money(book.total, book.currency),
            "" if (million := book.per_million_requests) is None else money(million, book.currency),
            _ratio(book, charged),
        )
        for book in books
    ]
    heads = ("OTHER BOOKS", "BILLED INSTANCE-S", "TOTAL", "PER MILLION", "TIMES WHAT IT COST")
    print_columns(heads, rows, right={1, 2, 3, 4})


def _ratio(book: BookBillView, charged: BookBillView | None) -> str:
    if charged is None or not charged.total or book.currency != charged.currency:
        return ""
    return f"{book.total / charged.total:,.2f}"


def _print_assumptions(books: Iterable[BookBillView]) -> None:
    for book in books:
        sentences = [*book.assumptions, *(f"Unconfirmed: {doubt}." for doubt in book.unconfirmed)]
        if sentences:
            click.echo(f"\n{book.title}:")
        for sentence in sentences:
            _print_text(sentence, "  - ", "    ")


def _print_gaps(gaps: Sequence[GapView]) -> None:
    """Say what is not in the bill, because it was never heard of: the latest ones."""
    _print_text("Not counted, because a router was killed before it had reported it:")
    for gap in gaps[-GAPS_SHOWN:]:
        who = f"what {gap.worker} did" if gap.worker else "everything"
        begin, end = (datetime.fromtimestamp(at, UTC) for at in (gap.begin, gap.end))
        text = f"{who} after {begin:%Y-%m-%d %H:%M:%S.%f} UTC; it was gone by {end:%H:%M:%S} UTC"
        _print_text(text, "  - ", "    ")
    if len(gaps) > GAPS_SHOWN:
        _print_text(f"  and {len(gaps) - GAPS_SHOWN} more before; --json has all.")


def _print_text(text: str, first: str = "", rest: str = "") -> None:
    width = min(shutil.get_terminal_size().columns, TEXT_WIDTH)
    click.echo(textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest))


def print_columns(heads: Sequence[str], rows: Iterable[Row], right: set[int]) -> None:
    """Print a table some of whose columns, by number, are numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number in right else "left", vertical="bottom")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
