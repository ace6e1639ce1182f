"""Charts as plotly's JavaScript takes them; colours are names of CSS properties, see app.css.

What a chart says is in a table of its page too.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from windlass.deploy.dashboard.formats import clock, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from windlass.deploy.api.schema import DecisionView, SliceView, TimelineView
    from windlass.deploy.dashboard.page import Figure
    from windlass.deploy.dashboard.pulse import Point

MOST_INSTANCES = 40  # that a chart shows, the latest
ROW = 26  # pixels per instance
LOWER = 130  # pixels of each chart below
GAP = 34  # pixels between charts, for their titles
ABOVE, BELOW = 64, 44  # pixels, for the legend and the axis
# The kind is told by the width, too: colour is never the only sign.
WIDTHS = {"startup": 9, "busy": 17, "idle": 4, "frozen": 4, "shutdown": 9}
PAUSES = ("idle", "frozen")
RATES = {
    "active": "billed",
    "idle": "billed at the idle rate",
    "held": "billed as always ready",
    "free": "not billed",
}
MOST_TICKS = 5  # of a lower chart
PIXELS = 2000  # what is shorter than this part of the axis is not told apart
MOST_SLICES = 3000  # that browsers draw without a pause


def lives(
    timelines: Sequence[TimelineView],
    decisions: Sequence[DecisionView],
    course: Sequence[Point],
    begin: float,
    now: float,
) -> Figure:
    """Return instances' slices, how many were wanted and why, and requests, on one time axis."""
    shown = timelines[-MOST_INSTANCES:]
    heights = [max(2, len(shown)) * ROW, LOWER, LOWER]
    whole = sum(heights) + 2 * GAP
    tops = [sum(heights[:row]) + row * GAP for row in range(3)]
    domains = [
        [1 - (top + height) / whole, 1 - top / whole]
        for top, height in zip(tops, heights, strict=True)
    ]
    domains[2][0] = 0.0
    return {
        "data": [
            *_slices(shown, begin, now),
            *_wanted(decisions, begin, now),
            _course("ready", [(p.time, p.ready) for p in course], begin, now, "y2", "--good"),
            _course(
                "in flight", [(p.time, p.in_flight) for p in course], begin, now, "y3", "--busy"
            ),
            _course("queued", [(p.time, p.queued) for p in course], begin, now, "y3", "--queued"),
        ],
        "layout": {
            "height": whole + ABOVE + BELOW,
            "margin": {"l": 92, "r": 16, "t": ABOVE, "b": BELOW},
            "uirevision": "kept",  # who has zoomed in stays where they are
            "hovermode": "closest",
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "yref": "paper"},
            "xaxis": {
                "type": "date",
                "range": [begin * 1000, now * 1000],
                "anchor": "y3",
                "gridcolor": "--line",
                "linecolor": "--line",
            },
            "yaxis": {
                "domain": domains[0],
                "type": "category",
                "categoryarray": [_short(t.instance) for t in reversed(shown)],
                "categoryorder": "array",
                "range": [-0.6, max(2, len(shown)) - 0.4],
                "gridcolor": "--line",
                "fixedrange": True,
            },
            "yaxis2": _below(
                domains[1],
                "instances",
                [*(d.desired for d in decisions), *(p.ready for p in course)],
            ),
            "yaxis3": _below(domains[2], "requests", [max(p.in_flight, p.queued) for p in course]),
        },
    }


def joined(slices: Iterable[SliceView], shortest: float) -> list[SliceView]:
    """Return the slices without pauses, idle or frozen, that are too short to be drawn."""
    found: list[SliceView] = []
    pause: list[SliceView] = []
    for cut in slices:
        if cut.kind in PAUSES and found:
            pause.append(cut)
            continue
        last = found[-1] if found else None
        is_short = bool(pause) and pause[-1].end - pause[0].begin < shortest
        if is_short and last and last.kind == cut.kind == "busy":
            found[-1] = type(cut)(kind="busy", begin=last.begin, end=cut.end, rate=cut.rate)
        else:
            found += [*pause, cut]
        pause = []
    return found + pause


def drawable(
    timelines: Sequence[TimelineView], begin: float, now: float
) -> dict[str, list[SliceView]]:
    """Return what is drawn of each instance: without the shortest pauses where they are many."""
    shortest = (now - begin) / PIXELS
    while True:
        found = {
            timeline.instance: joined((s for s in timeline.slices if s.end > begin), shortest)
            for timeline in timelines
        }
        if sum(map(len, found.values())) <= MOST_SLICES or shortest > now - begin:
            return found
        shortest *= 2


def _slices(timelines: Sequence[TimelineView], begin: float, now: float) -> list[dict[str, Any]]:
    """Return one trace per kind and rate: each slice a line of its own."""
    points: dict[tuple[str, str], list[tuple[float | None, str, str]]] = defaultdict(list)
    for instance, slices in drawable(timelines, begin, now).items():
        label = _short(instance)
        for cut in slices:
            first = max(cut.begin, begin)
            told = f"{label}: {cut.kind} for {span(cut.end - cut.begin)}, {RATES[cut.rate]}"
            points[cut.kind, cut.rate] += [
                (first * 1000, label, told),
                (cut.end * 1000, label, told),
                (None, label, ""),
            ]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{kind}, {RATES[rate]}",
            "x": [x for x, _, _ in found],
            "y": [label for _, label, _ in found],
            "text": [told for _, _, told in found],
            "hovertemplate": "%{text}<extra></extra>",
            "line": {
                "color": "--free" if rate == "free" else f"--{kind}",
                "width": WIDTHS[kind],
                "dash": "dot" if kind == "frozen" else "solid",
            },
            "connectgaps": False,
        }
        for (kind, rate), found in sorted(
            points.items(), key=lambda item: list(WIDTHS).index(item[0][0])
        )
    ]


def _wanted(decisions: Sequence[DecisionView], begin: float, now: float) -> list[dict[str, Any]]:
    by_revision: dict[str, list[DecisionView]] = defaultdict(list)
    for decision in decisions:
        by_revision[decision.revision].append(decision)
    traces = []
    for revision, made in by_revision.items():
        trace = _course("wanted", [(d.time, d.desired) for d in made], begin, now, "y2", "--wanted")
        told = [f"{clock(d.time)} {revision}: {d.desired} wanted<br>{d.reason}" for d in made]
        last = len(trace["x"]) - len(told)
        trace |= {
            "mode": "lines+markers",
            "name": "wanted" if len(by_revision) == 1 else f"wanted of {_short(revision)}",
            "marker": {
                "symbol": "diamond",
                "size": [9] * len(told) + [0] * last,
                "color": "--wanted",
                "opacity": 1,
            },
            "text": [*told, *[told[-1]] * last],
            "hovertemplate": "%{text}<extra></extra>",
        }
        trace["line"]["dash"] = "dot"
        traces.append(trace)
    return traces


def _course(
    name: str,
    points: Sequence[tuple[float, int]],
    begin: float,
    now: float,
    axis: str,
    colour: str,
) -> dict[str, Any]:
    """Return a line of steps: each value holds up to the next, the last up to now."""
    held = [*points, (now, points[-1][1])] if points else []
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [time * 1000 for time, _ in held],
        "y": [value for _, value in held],
        "yaxis": axis,
        "line": {"color": colour, "width": 2, "shape": "hv"},
        "hovertemplate": f"%{{y}} {name}<extra></extra>",
    }


def whole(values: Sequence[int]) -> dict[str, Any]:
    """Return an axis of whole numbers: never a half that would be shown rounded."""
    most = max(values, default=0)
    ticks = {"tick0": 0, "dtick": 1} if most <= MOST_TICKS else {"nticks": MOST_TICKS}
    return {"tickformat": ",d", "rangemode": "tozero"} | ticks


def _below(domain: list[float], title: str, values: Sequence[int]) -> dict[str, Any]:
    return {
        "domain": domain,
        "title": {"text": title, "standoff": 8, "font": {"size": 13}},
        "gridcolor": "--line",
        "fixedrange": True,
    } | whole(values)


def _short(name: str) -> str:
    """Return the last two parts of a name: the revision's number and the instance's letters."""
    return "-".join(name.rsplit("-", 2)[1:])
