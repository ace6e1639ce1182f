"""A comparison in the terminal: live while it runs, and a table of what came out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from windlass.bench.difference import apart, closed_form, difference, lambda_megabytes, sentence
from windlass.bench.report import per_million

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from rich.console import Console, RenderableType

    from windlass.bench.compare import Comparison, ModeResult, Progress, Settings

_LINE_INTERVAL = 5.0  # seconds of load between lines where there is no terminal
_STAGES = {
    "deploy": "deploying",
    "load": "under load",
    "settle": "waiting for the meter to settle",
    "delete": "deleting",
}


@contextmanager
def showing(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Show progress while the context lasts: a live line on a terminal, else lines now and then."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield lambda progress: live.update(Text(line(progress)))


class _Lines:
    """Prints a line at each new stage, and every few seconds under load."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage: tuple[str, str] = ("", "")
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        stage = (progress.subject, progress.stage)
        elapsed = progress.load.elapsed if progress.load else 0.0
        if progress.stage == "done" or (stage == self._stage and elapsed < self._next):
            return
        self._stage, self._next = stage, elapsed + _LINE_INTERVAL
        self._console.print(line(progress), highlight=False, soft_wrap=True)


def line(progress: Progress) -> str:
    """Return one line that says where the comparison is."""
    text = f"{progress.subject:8}  {_STAGES.get(progress.stage, progress.stage)}"
    load = progress.load
    if load is None:
        return text
    parts = [
        f"{text} {min(load.elapsed, progress.duration):.0f}/{progress.duration:.0f} s",
        f"{load.rate:.0f} requests/s",
        f"{load.in_flight} in flight",
        f"{load.errors} errors",
    ]
    if load.p50 is not None and load.p99 is not None:
        parts.append(f"p50 {load.p50 * 1000:.0f} ms, p99 {load.p99 * 1000:.0f} ms")
    if progress.observed is not None:
        now = progress.observed.instances_now
        parts.append(f"{now} instance{'' if now == 1 else 's'}")
    return "  ".join(parts)


def table(comparison: Comparison) -> Table:
    """Return the columns side by side."""
    columns = {"cloudrun": comparison.cloudrun, "lambda": comparison.lambda_}
    if comparison.against is not None:
        columns[comparison.settings.against or "against"] = comparison.against
    result = Table(title=title(comparison.settings), title_justify="left")
    result.add_column("")
    for name in columns:
        result.add_column(name, justify="right", overflow="fold")
    for label, cell in ROWS:
        result.add_row(label, *(cell(mode) for mode in columns.values()))
    return result


def summary(comparison: Comparison) -> RenderableType:
    """Return the table and what it comes to."""
    settings = comparison.settings
    parts: list[RenderableType] = [table(comparison)]
    parts += [Text(said) for said in conclusions(comparison)]
    parts.append(
        Text(
            f"Lambda is priced at {lambda_megabytes(settings)} MB, where it has the same CPU; "
            "one mode ran after the other, since both share this machine.",
            style="dim",
        )
    )
    for name, mode in (("cloudrun", comparison.cloudrun), ("lambda", comparison.lambda_)):
        for reason, count in mode.load.errors.most_common(5):
            parts.append(Text(f"{name}: {count} x {reason}", style="red"))
    return Group(*parts)


def conclusions(comparison: Comparison) -> list[str]:
    """Say where the difference comes from, and how far it is from theory; nothing without bills."""
    found, expected = difference(comparison), closed_form(comparison)
    said = [] if found is None else [sentence(found)]
    if found is not None and expected is not None:
        said.append(
            f"Cost ratio lambda / cloudrun: {found.ratio:.2f} measured; "
            f"{expected.ratio:.2f} by the closed form, from the load's schedule and what its "
            f"client measured: {_beside(comparison.cloudrun, expected.cloudrun_cost)} and "
            f"{_beside(comparison.lambda_, expected.lambda_cost)}."
        )
    return said


def _beside(mode: ModeResult, expected: Decimal) -> str:
    """Return an expected cost, and by how much what was metered differs from it."""
    difference = apart(mode, expected)
    return f"${expected:.6f}" + ("" if difference is None else f" (metered {difference:+.1%})")


def title(settings: Settings) -> str:
    """Say what ran and the load on it."""
    load = (
        f"{settings.rate:g} requests/s"
        if settings.clients is None
        else f"{settings.clients} clients"
    )
    what = settings.service or settings.image or " ".join(settings.exec)
    return f"{what} {settings.path}: {load} for {settings.duration:g} s"


def _metered(mode: ModeResult, name: str) -> str:
    return "" if mode.observed is None else str(getattr(mode.observed, name))


def _cost(mode: ModeResult) -> str:
    return "" if mode.observed is None else f"${mode.observed.cost:.6f}"


def _per_million(mode: ModeResult) -> str:
    million = per_million(mode)
    return "" if million is None else f"${million:.2f}"


def _billed(mode: ModeResult) -> str:
    return "" if mode.observed is None else f"{mode.observed.billed_instance_seconds:.1f}"


ROWS: tuple[tuple[str, Callable[[ModeResult], str]], ...] = (
    ("requests", lambda mode: str(mode.requests)),
    ("errors", lambda mode: str(mode.errors)),
    ("p50", lambda mode: f"{mode.latency(50) * 1000:.1f} ms"),
    ("p95", lambda mode: f"{mode.latency(95) * 1000:.1f} ms"),
    ("p99", lambda mode: f"{mode.latency(99) * 1000:.1f} ms"),
    ("max", lambda mode: f"{mode.latency(100) * 1000:.1f} ms"),
    ("cold starts", lambda mode: _metered(mode, "cold_starts")),
    ("peak instances", lambda mode: _metered(mode, "peak_instances")),
    ("billed instance-seconds", _billed),
    ("cost", _cost),
    ("cost per million requests", _per_million),
)
