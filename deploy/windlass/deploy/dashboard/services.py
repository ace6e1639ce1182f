"""The page of all services: what is asked, sorted, cut into pages, and summed up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from windlass.deploy.dashboard.page import Page, part
from windlass.model.instance import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from windlass.deploy.api.schema import CostView, OverviewView
    from windlass.deploy.dashboard.page import Asked
    from windlass.deploy.dashboard.pulse import Recent
    from windlass.deploy.dashboard.watch import Watch

ROWS = 50  # per page


@dataclass(frozen=True, slots=True)
class Row:
    """A service with all that its row shows."""

    view: OverviewView
    recent: Recent
    cost: CostView | None

    @property
    def live(self) -> int:
        """Instances that live, those that come or go included."""
        return sum(self.view.instances.values())

    @property
    def starting(self) -> int:
        """Instances that are coming."""
        return self.view.instances.get(State.STARTING, 0)


@dataclass(frozen=True, slots=True)
class Column:
    """A column by which rows can be sorted; numbers the largest first."""

    name: str
    title: str
    key: Callable[[Row], float | Decimal]
    explained: str = ""


COLUMNS = (
    Column("instances", "Instances", lambda row: row.live),
    Column("in-flight", "In flight", lambda row: row.view.in_flight),
    Column("queue", "Queue", lambda row: row.view.queued),
    Column("rate", "Requests/s", lambda row: row.recent.requests_per_second or 0.0),
    Column("p50", "p50", lambda row: row.recent.p50 or 0.0, "half of the requests were faster"),
    Column("p99", "p99", lambda row: row.recent.p99 or 0.0, "99 of 100 requests were faster"),
    Column("cold", "Cold starts", lambda row: row.view.cold_starts),
    Column("errors", "Errors", lambda row: row.view.errors, "answers with status 500 or above"),
    Column("cost", "Cost, last hour", lambda row: row.cost.total if row.cost else Decimal(0)),
    Column("million", "Per million", lambda row: _per_million(row), "requests"),
)
KEYS = {column.name: column.key for column in COLUMNS}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are shown."""

    search: str
    sort: str  # a column's name; anything else: by service
    number: int  # of the page, from 1

    def link(self, **changes: str | int) -> str:
        """Return the page's address with other choices."""
        chosen = {"q": self.search, "sort": self.sort, "page": self.number} | changes
        usual = {"q": "", "sort": "", "page": 1}
        query = urlencode({key: value for key, value in chosen.items() if value != usual[key]})
        return f"/?{query}" if query else "/"


async def build(asked: Asked) -> Page:
    """Return the page of all services."""
    watch = asked.watch
    choice = read(asked.query)
    rows = select(rows_of(watch), choice)
    pages = max(1, -(-len(rows) // ROWS))
    number = min(choice.number, pages)
    shown = rows[(number - 1) * ROWS : number * ROWS]
    facts: dict[str, object] = {
        "choice": choice,
        "columns": COLUMNS,
        "rows": shown,
        "found": len(rows),
        "known": len(watch.pulse.latest),
        "first": (number - 1) * ROWS + 1,
        "number": number,
        "pages": pages,
    }
    return Page(
        template="services.html",
        title="Services",
        section="services",
        parts={
            "summary": part("summary", **summary(watch)),
            "list": part("list", **facts),
        },
        facts=facts,
    )


def read(query: Mapping[str, str]) -> Choice:
    """Return the choice that a query makes; what makes no sense is left out."""
    page = query.get("page", "1")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1
    sort = query.get("sort", "")
    return Choice(
        search=query.get("q", "").strip()[:100],
        sort=sort if sort in KEYS else "",
        number=max(1, number),
    )


def rows_of(watch: Watch) -> list[Row]:
    """Return a row for each service, by name."""
    pulse, costs = watch.pulse, watch.costs
    return [Row(view, pulse.recent(name), costs.get(name)) for name, view in pulse.latest.items()]


def select(rows: Sequence[Row], choice: Choice) -> list[Row]:
    """Return the rows whose service's name has what is searched, in order."""
    found = [row for row in rows if choice.search.lower() in row.view.name]
    if key := KEYS.get(choice.sort):
        found.sort(key=key, reverse=True)
    return found


def summary(watch: Watch) -> dict[str, object]:
    """Return the sums over all services."""
    views, costs = watch.pulse.latest.values(), watch.costs.values()
    rates = [watch.pulse.recent(view.name).requests_per_second for view in views]
    known = [rate for rate in rates if rate is not None]
    modes = {view.mode for view in views}
    return {
        "services": len(views),
        "instances": sum(sum(view.instances.values()) for view in views),
        "in_flight": sum(view.in_flight for view in views),
        "queued": sum(view.queued for view in views),
        "rate": sum(known) if known else None,
        "errors": sum(view.errors for view in views),
        "total": sum((cost.total for cost in costs), Decimal(0)),
        "other_total": sum((cost.other_total for cost in costs), Decimal(0)),
        "mode": modes.pop() if len(modes) == 1 else "",
        "priced": bool(costs),
    }


def _per_million(row: Row) -> Decimal:
    cost = row.cost
    return (cost.per_million_requests if cost else None) or Decimal(0)
