"""Attacks the router with slowhttptest in all its modes while a normal load runs: do the clients of
that load notice? `make bench-slow`; the undisturbed run beside it is the measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from windlass.bench import load
from windlass.bench.machine import describe
from windlass.bench.proxies import BACKEND
from windlass.bench.servers import CannotStart, running
from windlass.bench.worker import running_worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.bench.tally import LoadResult
    from windlass.bench.worker import RunningWorker

TOOL = "slowhttptest"
CONCURRENCY = 1000  # more than an attack has connections: what is looked at is the router
FREE_LIMIT = 10.0  # seconds after an attack in which every slot must be free again


@dataclass(frozen=True)
class Mode:
    """One way to be slow: slowhttptest's options, and the path that it is slow on."""

    name: str
    options: tuple[str, ...]
    path: str


MODES = (
    Mode("headers", ("-H", "-i", "5", "-x", "24"), "/"),
    Mode("body", ("-B", "-i", "5", "-x", "64", "-s", "8192"), "/upload"),
    Mode("range", ("-R", "-a", "5", "-b", "1000"), "/large"),
    Mode("read", ("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"), "/large"),
)


@dataclass(frozen=True)
class Plan:
    """How much of what; seconds and requests per second."""

    seconds: int
    rate: float
    connections: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 1 if the normal load had an error or a slot stayed taken."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.slow", description=__doc__)
    names = [mode.name for mode in MODES]
    parser.add_argument("--modes", nargs="+", choices=names, default=names)
    parser.add_argument("--seconds", type=int, default=20, help="of each attack")
    parser.add_argument("--rate", type=float, default=200, help="requests/s of the normal load")
    parser.add_argument("--connections", type=int, default=500, help="of the attack")
    parser.add_argument("--install", action="store_true", help="apt-get install what is missing")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    if options.install and os.geteuid() == 0 and not (shutil.which(TOOL) and BACKEND.path()):
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
        subprocess.run([*command, TOOL, BACKEND.package], stdout=sys.stderr, check=False)
    if shutil.which(TOOL) is None:
        console.print(f"cannot measure: {TOOL} is not installed; try --install", style="red")
        return 1
    plan = Plan(options.seconds, options.rate, options.connections)
    modes = [mode for mode in MODES if mode.name in options.modes]
    try:
        results = uvloop.run(_measure(modes, plan, console))
    except CannotStart as error:
        console.print(f"cannot measure: {error}", style="red", markup=False)
        return 1
    Console(width=110).print(table(results))
    if options.out:
        document = {"machine": describe(), "settings": vars(plan), "results": results}
        options.out.write_text(json.dumps(document, indent=2) + "\n")
    bad = any(figures["errors"] or figures.get("held") for figures in results.values())
    return 1 if bad else 0


Results = dict[str, dict[str, object]]


async def _measure(modes: Sequence[Mode], plan: Plan, console: Console) -> Results:
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="windlass-slow-") as name:
        directory = Path(name)
        async with (
            running(BACKEND, directory, 0) as backend,
            running_worker(directory, backend.port, CONCURRENCY) as worker,
        ):
            await _normal(worker, Plan(2, plan.rate, 0))  # to warm up; not counted
            for mode in modes:
                console.print(f"undisturbed, {plan.seconds} s", style="dim")
                alone = await _normal(worker, plan)
                console.print(f"{TOOL}: {mode.name}, {plan.seconds} s", style="dim")
                beside, said = await _attacked(worker, mode, plan)
                results[f"before {mode.name}"] = _figures(alone)
                results[mode.name] = {
                    **_figures(beside),
                    "p99_ratio": beside.latency.percentile(99) / alone.latency.percentile(99),
                    "held": await _held(worker),
                    "attack": said,
                    "connected": said.get("connected", "?"),
                }
    return results


async def _normal(worker: RunningWorker, plan: Plan) -> LoadResult:
    return await load.run(
        load.Load(
            host="127.0.0.1",
            port=worker.port,
            host_header="bench",
            rate=plan.rate,
            duration=plan.seconds,
            timeout=10.0,
        )
    )


async def _attacked(
    worker: RunningWorker, mode: Mode, plan: Plan
) -> tuple[LoadResult, dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        *(TOOL, *mode.options, "-u", f"http://127.0.0.1:{worker.port}{mode.path}"),
        *("-c", str(plan.connections), "-r", "200", "-l", str(plan.seconds), "-p", "3"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        talk = asyncio.create_task(process.communicate())
        result = await _normal(worker, plan)
        output, _ = await asyncio.wait_for(talk, 30)
    finally:
        if process.returncode is None:
            process.kill()
    return result, last_status(output.decode(errors="replace"))


async def _held(worker: RunningWorker) -> int:
    """Return the slots that are still taken when they must be free."""
    for _ in range(int(FREE_LIMIT / 0.1)):
        if not worker.node.in_flight:
            break
        await asyncio.sleep(0.1)
    return worker.node.in_flight


def last_status(output: str) -> dict[str, str]:
    """Return what slowhttptest said last: connections by state, and whether service was there."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    names = ("initializing", "pending", "connected", "error", "closed", "service available")
    found = {name: re.findall(rf"^{name}:\s+(\S+)", plain, re.MULTILINE) for name in names}
    return {name: values[-1] for name, values in found.items() if values}


def _figures(result: LoadResult) -> dict[str, object]:
    return {
        "requests": result.requests,
        "errors": result.error_count,
        "errors_by_reason": dict(result.errors),
        "p50_ms": result.latency.percentile(50) / 1e6,
        "p99_ms": result.latency.percentile(99) / 1e6,
        "max_ms": result.latency.percentile(100) / 1e6,
    }


def table(results: Results) -> Table:
    """Return the figures, a line a run."""
    form = Table(title="the normal load", title_justify="left", box=SIMPLE)
    columns = {
        "requests": "{}",
        "errors": "{}",
        "p50_ms": "{:.2f}",
        "p99_ms": "{:.2f}",
        "max_ms": "{:.1f}",
        "p99_ratio": "{:.2f}",
        "held": "{}",
        "connected": "{}",
    }
    form.add_column("")
    for name in columns:
        form.add_column(name.replace("_", " "), justify="right")
    for name, figures in results.items():
        cells = [
            shape.format(figures[key]) if key in figures else "" for key, shape in columns.items()
        ]
        form.add_row(name, *cells)
    return form


if __name__ == "__main__":
    sys.exit(main())
