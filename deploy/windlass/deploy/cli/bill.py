"""`windlass bill`: what services cost, line by line, in every book."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from decimal import Decimal

    from windlass.deploy.api.schema import BillView, BookBillView


@click.command("bill")
@click.argument("name", default="")
@click.option("--book", default="", metavar="BOOK", help="One price book; without it, each.")
@click.option("--since", default="", metavar="TIME", help="How far back: 1h, 30m; else all.")
@json_option
@server_option
def command(name: str, book: str, since: str, as_json: bool, server: str) -> None:
    """Show what the service NAME cost, or all services, and what they would in the other mode."""
    from windlass.deploy.cli.output import print_json

    if since:
        _check(since)
    bill = ask(server, lambda client: client.bill(name, book, since))
    if as_json:
        print_json(bill)
    else:
        _print(bill)


def _check(since: str) -> None:
    from windlass.deploy.cli.faults import WrongFlags
    from windlass.deploy.cli.flags import FlagReader
    from windlass.deploy.quantity import read_duration

    reader = FlagReader()
    reader.take("--since", since, read_duration)
    if reader.wrong:
        raise WrongFlags(reader.wrong)


def _print(bill: BillView) -> None:
    from windlass.deploy.cli.output import moment

    usage = bill.usage
    begin = f"since {moment(bill.since)} UTC" if bill.since else "from the beginning"
    click.echo(
        f"{bill.service or 'All services'} {begin}: {usage.requests} requests, "
        f"{_number(usage.instance_seconds)} instance-seconds "
        f"({_number(usage.startup_seconds)} starting, {_number(usage.busy_seconds)} busy, "
        f"{_number(usage.idle_seconds)} idle, {_number(usage.shutdown_seconds)} stopping), "
        f"{usage.peak_instances} instances at most, {usage.cold_starts} cold starts"
    )
    # The first actual book is what the service is said to cost; the others are put beside it.
    charged = next((book for book in bill.books if book.actual), None)
    for book in bill.books:
        _print_book(book, "what it cost" if book is charged else "what it would have cost")
    for sentence in _ratios(charged, bill.books):
        click.echo(f"\n{sentence}")


def _print_book(book: BookBillView, what: str) -> None:
    from windlass.deploy.cli.output import print_table

    click.echo(f"\n{book.title} ({book.book}, {book.mode} mode): {what}")
    rows = [
        (
            f"  {line.item}",
            f"{_number(line.quantity)} {line.unit}",
            f"{_number(line.unit_price)} {book.currency}",
            f"{_number(line.amount)} {book.currency}",
        )
        for line in book.lines
    ]
    per_million = "" if book.per_million_requests is None else _number(book.per_million_requests)
    million = f"{per_million} {book.currency} per million requests" if per_million else ""
    billed = f"{_number(book.billed_instance_seconds)} billed instance-seconds"
    rows.append(("  total", billed, million, f"{_number(book.total)} {book.currency}"))
    print_table(("  ITEM", "QUANTITY", "PRICE", "AMOUNT"), rows, "")
    if book.note:
        click.echo(f"  {book.note}")


def _ratios(charged: BookBillView | None, books: tuple[BookBillView, ...]) -> list[str]:
    """Say how the other books compare with the one that is charged."""
    if charged is None or not charged.total:
        return []
    return [
        f"{book.title} would charge {book.total / charged.total:.1f} times what "
        f"{charged.title} does."
        for book in books
        if book is not charged and book.currency == charged.currency
    ]


def _number(value: Decimal) -> str:
    """Return a decimal without exponent and trailing zeros, with at most twelve places."""
    text = f"{round(value, 12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
