"""`windlass bill`: what services cost, in every book, cut as one likes, in several formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.deploy.api.schema import BillTerms, BillView, BookBillView, SharesView


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants a bill of."""

    server: str
    service: str
    since: str
    terms: BillTerms

    def bill(self, book: str = "") -> BillView:
        """Return the bill in one book or each."""
        return ask(self.server, lambda c: c.bill(self.service, book, self.since, self.terms))

    def shares(self, book: str, step: int | None) -> SharesView:
        """Return it taken apart, by `step` minutes if any."""
        return ask(
            self.server, lambda c: c.shares(self.service, book, self.since, step, self.terms)
        )


@click.command("bill")
@click.argument("name", default="")
@click.option("--book", "books", multiple=True, metavar="BOOK", help="In this book; repeatable.")
@click.option("--all-books", is_flag=True, help="Every book line by line.")
@click.option("--since", default="", metavar="TIME", help="How far back: 1h, 30m; else all.")
@click.option(
    "--by",
    default="",
    metavar="WHAT",
    help="A line for each service, revision, instance, label:KEY, minute, hour or day.",
)
@click.option("--free-tier", is_flag=True, help="Take off what is free each month.")
@click.option(
    "--rounding",
    type=click.Choice(["per_slice", "per_instance", "none"]),
    help="How time is rounded up, instead of the book's own way.",
)
@click.option("--explain", is_flag=True, help="Down to every instance's minutes.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, exact.")
@click.option("--format", "form", type=click.Choice(["focus"]), help="CSV in FOCUS 1.0 columns.")
@json_option
@server_option
def command(
    name: str,
    books: tuple[str, ...],
    all_books: bool,
    since: str,
    by: str,
    free_tier: bool,
    rounding: str | None,
    explain: bool,
    as_csv: bool,
    form: str | None,
    as_json: bool,
    server: str,
) -> None:
    """Show what the service NAME cost, or all services, and what they would in the other mode."""
    import msgspec

    from windlass.deploy.api.schema import BillTerms

    _check(since, by, exclusive=(("--by", by), ("--explain", explain), ("--format", form)))
    given = {"free_tier": free_tier, "rounding": rounding}
    asked = Asked(server, name, since, msgspec.convert(given, BillTerms))
    if form:
        _focus(asked, books)
    elif explain:
        _explain(asked, books, as_json)
    elif by:
        _by(asked, books, by, "json" if as_json else "csv" if as_csv else "")
    else:
        _whole(asked, books, all_books, "json" if as_json else "csv" if as_csv else "")


def _check(since: str, by: str, exclusive: Sequence[tuple[str, object]]) -> None:
    from windlass.deploy.cli.bill_groups import read_by
    from windlass.deploy.cli.faults import WrongFlags
    from windlass.deploy.cli.flags import FlagReader
    from windlass.deploy.quantity import read_duration

    reader = FlagReader()
    reader.take("--since", since or None, read_duration)
    reader.take("--by", by or None, read_by)
    if reader.wrong:
        raise WrongFlags(reader.wrong)
    if len(given := [flag for flag, value in exclusive if value]) > 1:
        raise click.UsageError(f"{' and '.join(given)} do not go together: give one of them")


def _whole(asked: Asked, books: Sequence[str], all_books: bool, form: str) -> None:
    import msgspec

    from windlass.deploy.cli.bill_csv import print_lines
    from windlass.deploy.cli.bill_table import pair, print_bill
    from windlass.deploy.cli.output import print_json

    if books:
        each = [asked.bill(book) for book in books]
        bill = msgspec.structs.replace(each[0], books=tuple(b for one in each for b in one.books))
    else:
        bill = asked.bill()
    if form == "json":
        print_json(bill)
    elif form == "csv":
        print_lines(bill)
    else:
        print_bill(bill, bill.books if books or all_books else pair(bill.books))


def _by(asked: Asked, books: Sequence[str], by: str, form: str) -> None:
    from windlass.deploy.cli.bill_csv import print_groups as print_csv
    from windlass.deploy.cli.bill_groups import group, print_groups, step_of
    from windlass.deploy.cli.output import print_json

    names = books or [book.book for book in _usual(asked)]
    found = [group(asked.shares(book, step_of(by)), by) for book in names]
    if form == "json":
        print_json(found)
    elif form == "csv":
        print_csv(found, by)
    else:
        print_groups(found, by)


def _explain(asked: Asked, books: Sequence[str], as_json: bool) -> None:
    from windlass.deploy.cli.bill_explain import print_explanation
    from windlass.deploy.cli.output import print_json

    names = books or [book.book for book in _usual(asked)[:1]]
    found = [asked.shares(book, 1) for book in names]
    if as_json:
        print_json(found)
    else:
        for one in found:
            print_explanation(one)


def _focus(asked: Asked, books: Sequence[str]) -> None:
    from windlass.deploy.cli.focus import HOUR, print_focus

    names = books or [book.book for book in _usual(asked)[:1]]
    print_focus([asked.shares(book, HOUR) for book in names])


def _usual(asked: Asked) -> list[BookBillView]:
    """Return the book that is charged, and the other mode's."""
    from windlass.deploy.cli.bill_table import pair

    return pair(asked.bill().books)
