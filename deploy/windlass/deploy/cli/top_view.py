"""The live view of `windlass top` as rich draws it: from what was told to what is seen."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from windlass.deploy.cli.amounts import total
from windlass.deploy.cli.output import span
from windlass.deploy.dashboard.formats import (
    MODES,
    NOTHING,
    clock,
    count,
    latency,
    price,
    rate,
    times,
)
from windlass.model.instance import ENDED, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from windlass.deploy.api.schema import DecisionView, InstanceView, NowView

AROUND = 6  # lines of the view beside its rows
ROOMY = 100  # columns from which cells stand further apart
REASONS = 3  # of a service's decisions, the latest


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look found."""

    time: float  # Unix seconds
    server: str
    services: Sequence[NowView]
    instances: Sequence[InstanceView] = ()  # of the one service that was asked for
    decisions: Sequence[DecisionView] = ()
    name: str = ""  # of that service


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and from which width of the terminal on it is shown."""

    title: str
    cell: Callable[[NowView], str | Text]
    at_least: int = 0


COLUMNS = (
    Column("mode", lambda now: MODES[now.service.mode], 110),
    Column("inst", lambda now: _instances(now)),
    Column("in\nflight", lambda now: count(now.service.in_flight)),
    Column("queue", lambda now: _marked(now.service.queued, "yellow")),
    Column("req/s", lambda now: rate(now.requests_per_second)),
    Column("p50", lambda now: latency(now.p50), 90),
    Column("p99", lambda now: latency(now.p99)),
    Column("errors", lambda now: _marked(now.service.errors, "bold red")),
    Column("$ last\nhour", lambda now: price(now.cost.total) if now.cost else NOTHING),
    Column("other\nmode", lambda now: price(now.cost.other_total) if now.cost else NOTHING),
    Column("", lambda now: times(now.cost.total, now.cost.other_total) if now.cost else "", 90),
)


def draw(seen: Seen, width: int, height: int, notice: str = "", is_live: bool = True) -> Group:
    """Return the view for a terminal of so many columns and lines; it never has more lines."""
    parts: list[RenderableType] = [_head(seen, notice)]
    if not seen.services:
        parts.append(Text("No service is deployed yet: windlass deploy NAME --image IMAGE"))
    elif seen.name:
        parts += [_services(seen.services, width, 1), Text("")]
        room = max(1, height - AROUND - 3 - len(seen.decisions[-REASONS:]))
        parts += _one(seen, room)
    else:
        parts.append(_services(seen.services, width, max(1, height - AROUND)))
    if is_live:
        parts.append(Text("q or Ctrl-C ends", style="dim"))
    return Group(*parts)


def _head(seen: Seen, notice: str) -> Text:
    where = f"  {seen.server}  {clock(seen.time)} UTC"
    head = Text.assemble(("windlass top", "bold"), where, no_wrap=True, overflow="ellipsis")
    return head if not notice else Text.assemble(head, "\n", (notice, "bold red"))


def _services(services: Sequence[NowView], width: int, room: int) -> Table:
    """Return the busiest services that there is room for, and the sum of all."""
    shown = [column for column in COLUMNS if width >= column.at_least]
    table = Table(
        box=None,
        pad_edge=False,
        collapse_padding=width < ROOMY,
        show_footer=len(services) > 1,
        footer_style="bold",
    )
    most = sorted(services, key=_business)[:room]
    left = len(services) - len(most)
    table.add_column(_cut("service"), footer=_cut(f"all {len(services)}"), vertical="bottom")
    for column in shown:
        footer = _sum(column.title, services)
        table.add_column(column.title, footer=footer, justify="right", no_wrap=True)
    for now in most:
        cells = (column.cell(now) for column in shown)
        style = "" if now.service.instances else "dim"
        table.add_row(_cut(now.service.name), *cells, style=style)
    if left:
        table.add_row(_cut(f"and {left} more", "dim"))
    return table


def _one(seen: Seen, room: int) -> list[RenderableType]:
    """Return the instances of a service and why there are so many."""
    alive = [one for one in seen.instances if one.state not in ENDED]
    table = Table(box=None, pad_edge=False)
    for title in ("instance", "state"):
        table.add_column(title, no_wrap=True)
    for title in ("in flight", "requests", "age"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("why")
    for one in alive[:room]:
        age = span(seen.time - one.started)
        name = one.id.removeprefix(f"{one.service}-")
        state = "frozen" if one.frozen else one.state
        served = count(one.in_flight), count(one.requests)
        table.add_row(name, state, *served, age, _cut(one.reason))
    parts: list[RenderableType] = [table] if alive else [Text("No instance lives: it is at zero.")]
    if len(alive) > room:
        parts.append(Text(f"and {len(alive) - room} more", style="dim"))
    for made in seen.decisions[: -REASONS - 1 : -1]:
        said = f"{clock(made.time)}  {made.desired} wanted: {made.reason}"
        parts.append(_cut(said, "dim"))
    return parts


def _cut(text: str, style: str = "") -> Text:
    """Return a text that is cut off where there is no room for it, and never wrapped."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _business(now: NowView) -> tuple[float, int, str]:
    return -(now.requests_per_second or 0.0), -now.service.in_flight, now.service.name


def _instances(now: NowView) -> Text:
    alive = sum(now.service.instances.values())
    starting = now.service.instances.get(State.STARTING, 0)
    return Text.assemble(count(alive), (f" +{starting}" if starting else "", "yellow"))


def _marked(value: int, style: str) -> Text:
    return Text(count(value), style=style if value else "")


def _sum(title: str, services: Sequence[NowView]) -> str:
    """Return what stands below a column."""
    costs = [now.cost for now in services if now.cost]
    own = total(cost.total for cost in costs) if costs else Decimal(0)
    other = total(cost.other_total for cost in costs) if costs else Decimal(0)
    match title:
        case "inst":
            return count(sum(sum(now.service.instances.values()) for now in services))
        case "in\nflight":
            return count(sum(now.service.in_flight for now in services))
        case "queue":
            return count(sum(now.service.queued for now in services))
        case "req/s":
            return rate(sum(now.requests_per_second or 0.0 for now in services))
        case "errors":
            return count(sum(now.service.errors for now in services))
        case "$ last\nhour":
            return price(own)
        case "other\nmode":
            return price(other)
        case "":
            return times(own, other)
    return ""
