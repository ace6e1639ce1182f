"""A comparison as one page of HTML that needs nothing else: charts, table, method, raw numbers."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
from markupsafe import Markup

from windlass.bench import machine
from windlass.bench.curve import ASSUMED, curve
from windlass.bench.difference import difference, verdict
from windlass.bench.report import as_json, per_million
from windlass.bench.show import ROWS, conclusions, title
from windlass.deploy.comparison import figures
from windlass.deploy.dashboard import assets
from windlass.deploy.dashboard.page import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from windlass.bench.compare import Comparison, ModeResult, Sample
    from windlass.bench.curve import Point
    from windlass.bench.tally import LoadResult
    from windlass.billing.book import Book
    from windlass.deploy.dashboard.page import Figure

PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
MOMENTS = 12  # rows of the table of the course, at most
MILLISECOND = 1_000_000  # ns


@dataclass(frozen=True, slots=True)
class Column:
    """A mode as the report shows it."""

    mode: str
    title: str
    explained: str
    result: ModeResult

    @property
    def cost(self) -> Decimal | None:
        """What its requests cost; None: an endpoint of others."""
        return self.result.observed.cost if self.result.observed else None

    @property
    def per_million(self) -> Decimal | None:
        """What a million such requests cost."""
        return per_million(self.result)

    def latency(self, percent: float) -> float:
        """Return a percentile in seconds."""
        return self.result.latency(percent)

    def course(self) -> Sequence[Sample]:
        """Return some moments of its course, evenly spread, with the last."""
        course = self.result.course
        step = max(1, -(-len(course) // MOMENTS))
        return [*course[:-1:step], *course[-1:]]


def write(comparison: Comparison, books: tuple[Book, Book]) -> str:
    """Return the page.

    Args:
        comparison: what came out.
        books: that bill shared instances and one request each, for other concurrencies.
    """
    settings = comparison.settings
    columns = _columns(comparison)
    spans = comparison.cloudrun.load.spans
    requests = list(zip(spans[::2], spans[1::2], strict=True))
    points = curve(requests, settings.milli_cpu, settings.memory, *books)
    charts = _charts(comparison, columns, points, len(requests))
    found = difference(comparison)
    return TEMPLATES.get_template("report.html").render(
        title=title(settings),
        settings=settings,
        columns=columns,
        rows=[(label, [cell(column.result) for column in columns]) for label, cell in ROWS],
        percents=PERCENTS,
        verdict=None if found is None else verdict(found.ratio),
        conclusions=conclusions(comparison),
        points=points,
        count_of_points=len(requests),
        assumed=ASSUMED,
        books=books,
        errors=[(column.title, column.result.load.errors.most_common(5)) for column in columns],
        lateness=max(_lateness(column.result.load) for column in columns),
        figures=charts,
        machine=machine.describe(),
        made=datetime.now(UTC),
        version=version("windlass"),
        raw=_data_url(_raw(comparison, columns, points)),
        style=Markup(assets.content("app.css").decode()),
        scripts=[_inline("plotly.min.js"), _inline("charts.js")],
    )


def _columns(comparison: Comparison) -> list[Column]:
    found = [
        Column(
            "cloudrun",
            "Cloud Run mode",
            f"up to {comparison.settings.concurrency} requests per instance",
            comparison.cloudrun,
        ),
        Column("lambda", "Lambda mode", "one request per instance", comparison.lambda_),
    ]
    if comparison.against is not None:
        where = comparison.settings.against or ""
        found.append(Column("against", "The other endpoint", where, comparison.against))
    return found


def _charts(
    comparison: Comparison, columns: Sequence[Column], points: Sequence[Point], requests: int
) -> dict[str, Figure]:
    settings = comparison.settings
    charts = {
        "latency": figures.latencies({c.mode: c.result.load.latency for c in columns}),
        "course": figures.course(
            {c.mode: c.result.course for c in columns if c.result.course}, settings.duration
        ),
    }
    if points:
        measured = [
            figures.Measured(
                column.mode,
                settings.concurrency if column.mode == "cloudrun" else 1,
                float(column.per_million),
            )
            for column in columns
            if column.per_million is not None
        ]
        charts["concurrency"] = figures.by_concurrency(points, requests, measured)
    return charts


def _raw(
    comparison: Comparison, columns: Sequence[Column], points: Sequence[Point]
) -> dict[str, object]:
    return as_json(comparison) | {
        "machine": machine.describe(),
        "latency_histogram_ms": {
            column.mode: [
                [value / MILLISECOND, count]
                for value, count in column.result.load.latency.buckets()
            ]
            for column in columns
        },
        "seconds": {
            column.mode: [
                {
                    "requests": second.requests,
                    "errors": second.errors,
                    "p50_ms": second.latency.percentile(50) / MILLISECOND,
                    "p99_ms": second.latency.percentile(99) / MILLISECOND,
                }
                for second in column.result.load.timeline
            ]
            for column in columns
        },
        "cost_by_concurrency": [
            {
                "concurrency": point.concurrency,
                "instances": point.instances,
                "shared_usd": float(point.shared),
                "alone_usd": float(point.alone),
            }
            for point in points
        ],
    }


def _lateness(load: LoadResult) -> float:
    """Return by how many seconds the generator was late, at the 99th percentile."""
    return load.lateness.percentile(99) / 1000 / MILLISECOND


def _data_url(value: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=1)
    return "data:application/json;base64," + base64.b64encode(text).decode()


def _inline(name: str) -> Markup:
    """Return a script as it may stand within a page."""
    return Markup(assets.content(name).decode().replace("</script", r"<\/script"))
