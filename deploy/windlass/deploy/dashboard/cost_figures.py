"""The chart of how a cost added up, as plotly's JavaScript takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from windlass.deploy.dashboard.page import Figure

COLOURS = ("--busy", "--startup")


@dataclass(frozen=True, slots=True)
class Step:
    """What a stretch of time cost, by title of book."""

    begin: float
    end: float
    requests: int
    totals: list[tuple[str, Decimal]]


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
        "layout": {
            "height": 340,
            "margin": {"l": 60, "r": 16, "t": 56, "b": 44},
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "uirevision": "kept",
            "xaxis": {"type": "date", "gridcolor": "--line"},
            "yaxis": {
                "tickprefix": "$",
                "rangemode": "tozero",
                "gridcolor": "--line",
                "fixedrange": True,
            },
        },
    }
