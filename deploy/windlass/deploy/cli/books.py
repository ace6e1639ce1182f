"""`windlass books`: which price books there are, what is in one, and whether a file is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windlass.billing.book import Book, Price


UNIT_OF = {
    "granularity": ", ms",
    "memory_sizes": ", MiB",
    "memory_included": ", MiB per vCPU",
    "memory_minimum": ", MB",
    "memory_maximum": ", MB",
    "memory_step": ", MB",
    "memory_per_cpu": ", MB",
    "storage_included": ", MB",
    "storage": ", MB",
}


@click.group("books")
def command() -> None:
    """List, show and check price books."""


@command.command("list")
@json_option
@server_option
def list_books(as_json: bool, server: str) -> None:
    """List all price books of the platform."""
    from windlass.deploy.cli.output import print_json, print_table

    books = ask(server, lambda client: client.books())
    if as_json:
        print_json(books)
        return
    rows = [(book.name, book.mode, book.date, book.title) for book in books]
    print_table(("NAME", "MODE", "PRICES OF", "TITLE"), rows, "No price book.")


@command.command("show")
@click.argument("name")
@json_option
@server_option
def show(name: str, as_json: bool, server: str) -> None:
    """Show the prices and rules of the book NAME, where they are from, and what is unconfirmed."""
    from windlass.deploy.cli.output import print_json

    book = ask(server, lambda client: client.book(name))
    if as_json:
        print_json(book)
    else:
        _print(book)


@command.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check that FILE is a price book; one in STATE/books is used when the platform starts."""
    from windlass.billing.book import BookFault, read_book
    from windlass.deploy.cli.faults import OperationFailed

    try:
        book = read_book(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise OperationFailed(f"{file}: it cannot be read: {error}") from error
    except BookFault as error:
        raise OperationFailed(str(error)) from error
    click.echo(f"{file} is the price book {book.name!r} with {len(book.prices)} prices.")
    for doubt in book.doubts():
        click.echo(f"  unconfirmed: {doubt}")


def _print(book: Book) -> None:
    from windlass.deploy.cli.output import print_table

    click.echo(f"{book.title} ({', '.join((book.name, *book.aliases))})")
    click.echo(
        f"For services that run in {book.mode} mode. Prices in {book.currency} of {book.date}"
    )
    click.echo("from " + "\n     ".join(book.sources) + "\n")
    rows = [row for price in book.prices for row in _price_rows(price, book.currency)]
    print_table(("PRICE OF", "UP TO", "PRICE", "FREE EACH MONTH", "", "SOURCE"), rows, "No price.")
    click.echo()
    for name, rule in _rules(book):
        click.echo(f"{name}: {rule}")
    for sentence in book.assumptions:
        click.echo(f"Assumed: {sentence}")
    for doubt in book.unconfirmed:
        click.echo(f"Unconfirmed: {doubt}.")


def _price_rows(price: Price, currency: str) -> Iterator[tuple[str, ...]]:
    from windlass.billing.bill import ITEMS
    from windlass.billing.book import UNITS
    from windlass.deploy.cli.amounts import quantity, unit_price

    unit = UNITS[price.measure]
    per = f"{quantity(price.per)} {unit}s" if price.per != 1 else unit
    free = f"{quantity(price.free)} {unit}s" if price.free else ""
    mark = "unconfirmed" if price.unconfirmed else ""
    for number, tier in enumerate(price.steps()):
        yield (
            ITEMS[price.measure] if number == 0 else "",
            f"{quantity(tier.up_to)} {unit}s" if tier.up_to is not None else "",
            f"{unit_price(tier.price, currency)} per {per}",
            free if number == 0 else "",
            mark,
            price.source if number == 0 else "",
        )


def _rules(book: Book) -> Iterator[tuple[str, str]]:
    """Yield each rule by which time is counted, in the terms of the book's file."""
    from msgspec.structs import asdict

    from windlass.billing.book import InstanceTime

    for name, value in asdict(book.billing).items():
        if name == "rates" and isinstance(book.billing, InstanceTime):
            for rate in ("active", "idle", "held", "free"):
                if kinds := book.billing.rates.at(rate):
                    yield f"{rate} rate", ", ".join(kinds)
        elif value not in (0, (), False):
            sizes = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield name.replace("_", " ") + UNIT_OF.get(name, ""), sizes.replace("_", " ")
