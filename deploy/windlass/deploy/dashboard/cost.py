"""The page of costs: any service, any range, every book side by side, and how the cost built up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.dashboard import cost_figures
from windlass.deploy.dashboard.page import Page, part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windlass.deploy.api.schema import BillView, BookBillView
    from windlass.deploy.dashboard.page import Asked

RANGES = {
    "15m": ("Last 15 minutes", 900.0),
    "1h": ("Last hour", 3600.0),
    "24h": ("Last 24 hours", 86_400.0),
    "7d": ("Last 7 days", 7 * 86_400.0),
    "30d": ("Last 30 days", 30 * 86_400.0),
    "all": ("From the beginning", None),
}
USUAL = "1h"
STEPS = 24  # stretches of the range that the cost over time is shown in, at most
LOOKS = 15  # between two bills: each is read from the ledger many times over
MINUTE = 60.0  # the ledger's rows


@dataclass(frozen=True, slots=True)
class Choice:
    """What the bill is asked for; `since` and `until` in Unix seconds, None: beginning and now."""

    service: str
    book: str
    range: str  # a key of RANGES, or empty where since and until are given
    since: float | None
    until: float | None


async def build(asked: Asked) -> Page:
    """Return the page of costs."""
    platform, now = asked.platform, time.time()
    choice = read(asked.query, now)
    books = await platform.books()
    bill = await platform.bill(
        choice.service or None, choice.book or None, choice.since, choice.until
    )
    own, other = beside(bill.books)
    bill = msgspec.structs.replace(bill, books=in_order(bill.books, own, other))
    facts = {"bill": bill, "own": own, "other": other, "choice": choice}
    figures = {}
    if own is not None and bill.usage.instance_seconds:
        figures["course"] = cost_figures.course(
            [await _step(asked, choice, own, other, *step) for step in steps(bill, now)]
        )
    return Page(
        template="cost.html",
        title="Cost",
        section="cost",
        parts={
            "verdict": part("verdict", **facts),
            "books": part("books", **facts),
            "bill": part("bill", **facts),
        },
        figures=figures,
        looks=LOOKS,
        facts={
            "choice": choice,
            "ranges": RANGES,
            "books": books,
            "services": sorted(asked.watch.pulse.latest),
            "since": _field(bill.since),
            "until": _field(min(bill.until, now)),
        },
    )


def read(query: Mapping[str, str], now: float) -> Choice:
    """Return what a query asks for.

    Raises:
        Refused: a moment cannot be read, or the range ends before it begins (422).
    """
    chosen = query.get("range", USUAL)
    since, until = _moment(query, "from"), _moment(query, "to")
    if since is None and until is None:
        chosen = chosen if chosen in RANGES else USUAL
        length = RANGES[chosen][1]
        since = None if length is None else now - length
    else:
        chosen = ""
        if (since or 0.0) >= (now if until is None else until):
            raise Refused(
                problem(422, "invalid-range", "The range ends before it begins: change from or to.")
            )
    return Choice(query.get("service", "").strip(), query.get("book", ""), chosen, since, until)


def beside(books: Sequence[BookBillView]) -> tuple[BookBillView | None, BookBillView | None]:
    """Return the bill that is charged and the first of the other mode; None: there is none.

    What ran in both modes is charged by no single book: the first one stands in.
    """
    own = next((book for book in books if book.actual), books[0] if books else None)
    other = next((book for book in books if own and book.mode != own.mode), None)
    return own, other


def in_order(
    books: Sequence[BookBillView], own: BookBillView | None, other: BookBillView | None
) -> tuple[BookBillView, ...]:
    """Return the bills: these two first, then the cheapest first."""
    rest = [book for book in books if book not in (own, other)]
    return (*filter(None, (own, other)), *sorted(rest, key=lambda book: book.total))


def steps(bill: BillView, now: float) -> list[tuple[float, float]]:
    """Return the stretches of whole minutes that tile a bill's range, STEPS at most."""
    end = min(bill.until, now)
    minutes = max(1, -(-int(end - bill.since) // int(MINUTE)))
    length = -(-minutes // STEPS) * MINUTE
    begins = [bill.since + number * length for number in range(int(-(-minutes * MINUTE // length)))]
    return [(begin, begin + length) for begin in begins if begin < end]


async def _step(
    asked: Asked,
    choice: Choice,
    own: BookBillView,
    other: BookBillView | None,
    begin: float,
    end: float,
) -> cost_figures.Step:
    """Return what a stretch cost by both books."""
    found = await asked.platform.bill(choice.service or None, choice.book or None, begin, end)
    by_book = {book.book: book for book in found.books}
    shown = [(book.title, by_book[book.book].total) for book in (own, other) if book]
    return cost_figures.Step(begin, end, found.usage.requests, shown)


def _moment(query: Mapping[str, str], key: str) -> float | None:
    text = query.get(key, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        detail = f"{key}={text!r} is no moment; write it as 2026-11-30T18:00 (UTC)."
        raise Refused(problem(422, "invalid-range", detail)) from error


def _field(moment: float) -> str:
    """Return a moment as a datetime-local field has it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M")
