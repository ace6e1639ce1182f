"""A comparison's charts, as plotly's JavaScript takes them; colours name CSS properties.

What a chart says is in a table or a sentence beside it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windlass.deploy.dashboard.figures import whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windlass.bench.compare import Sample
    from windlass.bench.curve import Point
    from windlass.bench.histogram import Histogram
    from windlass.deploy.dashboard.page import Figure

MOST_POINTS = 400  # of a line: more are not told apart
MILLISECOND = 1_000_000  # ns
ROWS = (("in flight", ",d", ""), ("instances", ",d", ""), ("cost", ".4~g", "$"))


@dataclass(frozen=True, slots=True)
class Style:
    """How a mode is drawn: colour is never the only sign."""

    title: str
    colour: str
    dash: str


STYLES = {
    "cloudrun": Style("Cloud Run mode", "--busy", "solid"),
    "lambda": Style("Lambda mode", "--startup", "dash"),
    "against": Style("the other endpoint", "--idle", "dot"),
}


def course(samples: Mapping[str, Sequence[Sample]], duration: float) -> Figure:
    """Return requests in flight, instances and cost over the load, of each mode.

    `duration`: seconds that the time axis shows at least.
    """
    longest = [each[-1].second for each in samples.values() if each]
    data = [
        _line(mode, [s.second for s in each], values, row)
        for mode, each in samples.items()
        for row, values in enumerate(
            (
                [float(s.in_flight) for s in each],
                [float(s.instances) for s in each],
                [float(s.cost) for s in each],
            )
        )
        if each
    ]
    layout = _layout(540)
    layout["xaxis"] |= {
        "title": _title("seconds of the load"),
        "range": [0, max([duration, *longest])],
        "anchor": "y3",
    }
    every = [sample for each in samples.values() for sample in each]
    ticks: list[dict[str, Any]] = [
        whole([sample.in_flight for sample in every]),
        whole([sample.instances for sample in every]),
        {"tickformat": "~g", "tickprefix": "$", "nticks": 5},
    ]
    for row, ((title, _, _), of_row) in enumerate(zip(ROWS, ticks, strict=True)):
        top = 1 - row * 0.355
        placed = {"domain": [max(0.0, top - 0.29), top]}
        layout[f"yaxis{row + 1 if row else ''}"] = _axis(title) | placed | of_row
    return {"data": data, "layout": layout}


def latencies(histograms: dict[str, Histogram]) -> Figure:
    """Return the share of requests that were answered within each time, of each mode."""
    data, ends = [], list[float]()
    for mode, histogram in histograms.items():
        if not histogram.count:
            continue
        style = STYLES[mode]
        points = _thinned(_shares(histogram))
        ends += [points[0][0], points[-1][0]]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": style.title,
                "x": [value for value, _ in points],
                "y": [share for _, share in points],
                "line": {"color": style.colour, "width": 3, "dash": style.dash, "shape": "hv"},
                "hovertemplate": "%{y:.2f} % within %{x:.4~g} ms<extra></extra>",
            }
        )
    layout = _layout(360)
    layout["xaxis"] |= {
        "type": "log",
        "range": [math.log10(min(ends) * 0.8), math.log10(max(ends) * 1.1)] if ends else None,
        "title": _title("time to the whole answer"),
        "tickvals": [unit * 10**power for power in range(-1, 6) for unit in (1, 2, 5)],
        "ticktext": [_time(unit * 10**power) for power in range(-1, 6) for unit in (1, 2, 5)],
    }
    layout["yaxis"] = _axis("requests answered") | {"range": [0, 101], "ticksuffix": " %"}
    return {"data": data, "layout": layout}


def by_concurrency(points: Sequence[Point], requests: int, measured: Sequence[Measured]) -> Figure:
    """Return what a million such requests cost by how many share an instance.

    `requests`: of which the points are the cost.
    """
    scale = 1_000_000 / requests
    data: list[dict[str, Any]] = []
    for mode, costs in (
        ("cloudrun", [float(point.shared) * scale for point in points]),
        ("lambda", [float(point.alone) * scale for point in points]),
    ):
        style = STYLES[mode]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if mode == "cloudrun" else "lines",
                "name": ("shared instances" if mode == "cloudrun" else "one request each")
                + ", computed",
                "x": [point.concurrency for point in points],
                "y": costs,
                "line": {"color": style.colour, "width": 3, "dash": style.dash},
                "marker": {"size": 6, "color": style.colour},
                "hovertemplate": "$%{y:.3~g} per million at concurrency %{x}<extra></extra>",
            }
        )
    for one in measured:
        style = STYLES[one.mode]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{style.title}, measured",
                "x": [one.concurrency],
                "y": [one.per_million],
                "marker": {
                    "size": 14,
                    "symbol": "circle-open" if one.mode == "cloudrun" else "diamond-open",
                    "color": "--text",
                    "line": {"width": 3, "color": style.colour},
                },
                "hovertemplate": f"$%{{y:.3~g}} per million<br>{style.title}, as metered, "
                "starts included<extra></extra>",
            }
        )
    layout = _layout(380)
    layout["xaxis"] |= {
        "type": "log",
        "title": _title("requests at once in one instance"),
        "tickangle": 0,
        "tickvals": [1, 3, 10, 30, 100, 300, 1000],
        "range": [-0.05, 3.05],
    }
    layout["yaxis"] = _axis("per million requests") | {"tickprefix": "$"}
    return {"data": data, "layout": layout}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a mode cost, beside what was computed."""

    mode: str
    concurrency: int
    per_million: float


def _line(mode: str, x: Sequence[float], y: Sequence[float], row: int) -> dict[str, Any]:
    style = STYLES[mode]
    title, form, prefix = ROWS[row]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": style.title,
        "legendgroup": mode,
        "showlegend": row == 0,
        "x": list(x),
        "y": list(y),
        "yaxis": "y" if row == 0 else f"y{row + 1}",
        "line": {
            "color": style.colour,
            "width": 2.5,
            "dash": style.dash,
            "shape": "hv" if title == "instances" else "linear",
        },
        "hovertemplate": f"{prefix}%{{y:{form}}} {title} at %{{x:.0f}} s"
        f"<br>{style.title}<extra></extra>",
    }


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 74, "r": 16, "t": 48, "b": 52},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
        "hovermode": "closest",
        "uirevision": "kept",
        "xaxis": {"gridcolor": "--line", "linecolor": "--line", "zeroline": False},
    }


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": _title(title),
        "rangemode": "tozero",
        "gridcolor": "--line",
        "zerolinecolor": "--line",
        "fixedrange": True,
    }


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "standoff": 8, "font": {"size": 13}}


def _time(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"


def _shares(histogram: Histogram) -> list[tuple[float, float]]:
    """Return (milliseconds, percent of all requests that took at most that)."""
    seen = 0
    shares: list[tuple[float, float]] = []
    for value, count in histogram.buckets():
        if not shares:
            shares.append((value / MILLISECOND, 0.0))
        seen += count
        shares.append((value / MILLISECOND, 100 * seen / histogram.count))
    return shares


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // MOST_POINTS)
    return points if step == 1 else [*points[::step], points[-1]]
