"""Charts of costs, as plotly's JavaScript takes them; the bill's table says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windlass.deploy.dashboard.formats import price

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from windlass.deploy.api.schema import BookBillView
    from windlass.deploy.dashboard.page import Figure

COLOURS = ("--busy", "--startup", "--idle", "--shutdown", "--queued", "--free")
PATTERNS = ("", "/", ".", "x", "-", "+")  # colour is never the only sign
ROW = 34  # pixels per book


@dataclass(frozen=True, slots=True)
class Step:
    """What a stretch of time cost, by title of book."""

    begin: float
    end: float
    requests: int
    totals: list[tuple[str, Decimal]]


def totals(books: Sequence[BookBillView]) -> Figure:
    """Return each book's total as a bar made of its lines; only books of one currency."""
    shown = [book for book in books if book.currency == books[0].currency][::-1]
    items = list(dict.fromkeys(line.item for book in reversed(shown) for line in book.lines))
    return {
        "data": [_item(item, number, shown) for number, item in enumerate(items)],
        "layout": _layout(max(3, len(shown)) * ROW + 100)
        | {
            "barmode": "stack",
            "yaxis": {"automargin": True, "fixedrange": True},
            "xaxis": _money("x"),
            "annotations": [
                {
                    "x": float(book.total),
                    "y": book.title,
                    "text": price(book.total, book.currency),
                    "showarrow": False,
                    "xanchor": "left",
                    "xshift": 6,
                }
                for book in shown
            ],
        },
    }


def course(steps: Sequence[Step]) -> Figure:
    """Return what each stretch cost, and how it added up, by each book."""
    titles = [title for title, _ in steps[0].totals] if steps else []
    data: list[dict[str, Any]] = []
    for number, title in enumerate(titles):
        sums: list[float] = []
        for step in steps:
            sums.append((sums[-1] if sums else 0.0) + float(step.totals[number][1]))
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": title,
                "x": [steps[0].begin * 1000, *(step.end * 1000 for step in steps)],
                "y": [0.0, *sums],
                "line": {
                    "color": COLOURS[number],
                    "width": 3,
                    "dash": ("solid", "dash")[number],
                },
                "hovertemplate": f"$%{{y:.4~g}} up to %{{x|%b %d %H:%M}}<br>{title}<extra></extra>",
            }
        )
    return {
        "data": data,
        "layout": _layout(320)
        | {"xaxis": {"type": "date", "gridcolor": "--line"}, "yaxis": _money("y")},
    }


def _item(item: str, number: int, books: Sequence[BookBillView]) -> dict[str, Any]:
    amounts = [
        float(sum(line.amount for line in book.lines if line.item == item)) for book in books
    ]
    return {
        "type": "bar",
        "orientation": "h",
        "name": item,
        "x": amounts,
        "y": [book.title for book in books],
        "marker": {
            "color": COLOURS[number % len(COLOURS)],
            "pattern": {
                "shape": PATTERNS[number % len(PATTERNS)],
                "fillmode": "overlay",
                "fgcolor": "--card",
                "size": 7,
                "solidity": 0.25,
            },
        },
        "hovertemplate": f"{item}: $%{{x:.4~g}}<extra></extra>",
    }


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 60, "r": 70, "t": 40, "b": 44},
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xref": "container",
            "y": 1,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "uirevision": "kept",
    }


def _money(axis: str) -> dict[str, Any]:
    found: dict[str, Any] = {"tickprefix": "$", "rangemode": "tozero", "gridcolor": "--line"}
    return found | ({"fixedrange": True} if axis == "y" else {"nticks": 6})
