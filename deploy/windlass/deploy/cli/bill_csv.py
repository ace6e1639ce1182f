"""Bills as CSV: the same rows that people see, exact."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from windlass.deploy.api.schema import BillView
    from windlass.deploy.cli.bill_groups import Groups


def print_lines(bill: BillView) -> None:
    """Print every line of every book."""
    heads = ("book", "actual", "item", "quantity", "unit", "unit_price", "amount", "currency")
    write(
        heads,
        (
            (
                book.book,
                str(book.actual).lower(),
                line.item,
                plain(line.quantity),
                line.unit,
                plain(line.unit_price),
                plain(line.amount),
                book.currency,
            )
            for book in bill.books
            for line in book.lines
        ),
    )


def print_groups(found: Iterable[Groups], by: str) -> None:
    """Print a row for each key and book."""
    write(
        ("book", by, "requests", "billed_seconds", "amount", "currency"),
        (
            (
                one.book,
                group.key,
                str(group.requests),
                plain(group.billed_seconds),
                plain(group.amount),
                one.currency,
            )
            for one in found
            for group in one.groups
        ),
    )


def write(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as RFC 4180 has them, but for the line ends, which are this system's."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)


def plain(value: Decimal) -> str:
    """Return a decimal without an exponent."""
    return f"{value:f}"
