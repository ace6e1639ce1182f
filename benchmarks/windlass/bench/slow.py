"""Attacks the router with slowhttptest in all its modes, and holds idle connections, while a normal
load runs: do the clients of that load notice? `make bench-slow`.

Stretches with and without the attack take turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from windlass.bench import load
from windlass.bench.cputime import cpu_nanoseconds
from windlass.bench.fake_node import FakeNode
from windlass.bench.histogram import Histogram
from windlass.bench.machine import describe
from windlass.bench.proxies import BACKEND, NGINX, PROXIES, WINDLASS
from windlass.bench.servers import CannotStart, running
from windlass.bench.worker import RunningWorker, running_worker
from windlass.router.descriptors import raise_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from windlass.bench.tally import LoadResult

TOOL = "slowhttptest"
CONCURRENCY = 1000  # more than an attack has connections: what is looked at is the router
FREE_LIMIT = 10.0  # seconds after an attack in which every slot must be free again
MAX_RATIO = 2.0  # of the p99 beside an attack to that without
IDLE = 10  # idle connections for each one of an attack
# An attacker has a machine of its own: here it gets what the others leave of this one. slowhttptest
# takes a whole core to wait for the next of its bytes, though: once it is connected, it runs for so
# many seconds of each period only, in which it does all that has become due.
NICE = ("nice", "-n", "10")
PERIOD, RUNS = 1.0, 0.01
ATTACK_RATE = 200  # connections per second


@dataclass(frozen=True)
class Mode:
    """One way to be slow: slowhttptest's options, none for idle connections, and their path."""

    name: str
    options: tuple[str, ...]
    path: str


MODES = (
    Mode("headers", ("-H", "-i", "5", "-x", "24"), "/"),
    Mode("body", ("-B", "-i", "5", "-x", "64", "-s", "8192"), "/upload"),
    Mode("range", ("-R", "-a", "5", "-b", "1000"), "/large"),
    Mode("read", ("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"), "/large"),
    Mode("idle", (), "/"),
)


@dataclass(frozen=True)
class Plan:
    """How much of what; seconds (of a stretch) and requests per second."""

    seconds: int
    rounds: int
    rate: float
    connections: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 1 if the normal load had an error or was slowed, or a slot stayed taken."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.slow", description=__doc__)
    names = [mode.name for mode in MODES]
    parser.add_argument("--modes", nargs="+", choices=names, default=names)
    parser.add_argument("--seconds", type=int, default=10, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=3, help="of a stretch without and one with")
    parser.add_argument("--rate", type=float, default=200, help="requests/s of the normal load")
    parser.add_argument("--connections", type=int, default=500, help="of the attack")
    parser.add_argument(
        "--proxy",
        choices=(WINDLASS, NGINX),
        default=WINDLASS,
        help=f"{NGINX}: what the same attacks do to it, in the router's place",
    )
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
    plan = Plan(options.seconds, options.rounds, options.rate, options.connections)
    modes = [mode for mode in MODES if mode.name in options.modes]
    try:
        results = uvloop.run(_measure(options.proxy, modes, plan, console))
    except CannotStart as error:
        console.print(f"cannot measure: {error}", style="red", markup=False)
        return 1
    Console(width=150).print(table(results))
    if options.out:
        settings = {"proxy": options.proxy, **vars(plan)}
        document = {"machine": describe(), "settings": settings, "results": results}
        options.out.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if any(is_noticed(figures) for figures in results.values()) else 0


Figures = dict[str, object]
Results = dict[str, Figures]


@dataclass(frozen=True)
class Stretch:
    """A load of some seconds, and the CPU nanoseconds that the router took meanwhile."""

    load: LoadResult
    cpu: int


def is_noticed(figures: Mapping[str, Any]) -> bool:
    """Tell whether an attack had a bad effect that is seen from outside."""
    return bool(figures["errors"] or figures["held"] or figures["p99_ratio"] > MAX_RATIO)


async def _measure(proxy: str, modes: Sequence[Mode], plan: Plan, console: Console) -> Results:
    results: Results = {}
    raise_limit()
    with tempfile.TemporaryDirectory(prefix="windlass-slow-") as name:
        directory = Path(name)
        async with (
            running(BACKEND, directory, 0) as backend,
            _running(proxy, directory, backend.port) as worker,
        ):
            await _stretch(worker, plan)  # to warm up; not counted
            for mode in modes:
                console.print(
                    f"{mode.name}: {plan.rounds} x 2 stretches of {plan.seconds} s", style="dim"
                )
                results[mode.name] = await _take_turns(worker, mode, plan)
    return results


@asynccontextmanager
async def _running(name: str, directory: Path, backend: int) -> AsyncIterator[RunningWorker]:
    if name == WINDLASS:
        async with running_worker(directory, backend, CONCURRENCY) as worker:
            yield worker
        return
    proxy = next(each for each in PROXIES if each.name == name)
    async with running(proxy, directory, backend) as server:
        # It has no slots: none is ever held.
        yield RunningWorker(server.port, server.pid, FakeNode(backend, CONCURRENCY))


async def _take_turns(worker: RunningWorker, mode: Mode, plan: Plan) -> Figures:
    alone: list[Stretch] = []
    beside: list[Stretch] = []
    said: dict[str, str] = {}
    held = 0
    for number in range(plan.rounds):
        for attacked in (False, True) if number % 2 == 0 else (True, False):
            if attacked:
                stretch, said = await _attacked(worker, mode, plan)
                beside.append(stretch)
                held += await _held(worker)
            else:
                alone.append(await _stretch(worker, plan))
    return {**summary(alone, beside), "held": held, "connected": said.get("connected", "?")}


def summary(alone: Sequence[Stretch], beside: Sequence[Stretch]) -> Figures:
    """Return what the stretches come to; percentiles are those of all stretches together.

    Latency counts from the moment at which a request was sent. How late that was, as the load's own
    process has to share the machine too, is said beside it.
    """
    calm, disturbed = (_pooled([one.load.service for one in each]) for each in (alone, beside))
    late = [_pooled([one.load.lateness for one in each]) for each in (alone, beside)]
    errors: Counter[str] = sum((each.load.errors for each in beside), Counter())
    pairs = zip(alone, beside, strict=True)
    return {
        "requests": disturbed.count,
        "errors": errors.total(),
        "errors_by_reason": dict(errors),
        "p50_ms": [latency.percentile(50) / 1e6 for latency in (calm, disturbed)],
        "p99_ms": [latency.percentile(99) / 1e6 for latency in (calm, disturbed)],
        "max_ms": [latency.percentile(100) / 1e6 for latency in (calm, disturbed)],
        "p99_ratio": disturbed.percentile(99) / calm.percentile(99),
        "p99_ratio_of_rounds": [_p99(with_it) / _p99(without) for without, with_it in pairs],
        "late_p99_ms": [lateness.percentile(99) / 1e6 for lateness in late],
        "router_cpu_ms": [
            sum(each.cpu for each in each_kind) / 1e6 for each_kind in (alone, beside)
        ],
    }


def _pooled(parts: Sequence[Histogram]) -> Histogram:
    pooled = Histogram()
    for part in parts:
        pooled.add(part)
    return pooled


def _p99(stretch: Stretch) -> int:
    return stretch.load.service.percentile(99)


async def _stretch(worker: RunningWorker, plan: Plan) -> Stretch:
    before = cpu_nanoseconds(worker.pid)
    result = await load.run(
        load.Load(
            host="127.0.0.1",
            port=worker.port,
            host_header="bench",
            rate=plan.rate,
            duration=plan.seconds,
            timeout=10.0,
        )
    )
    return Stretch(result, cpu_nanoseconds(worker.pid) - before)


async def _attacked(
    worker: RunningWorker, mode: Mode, plan: Plan
) -> tuple[Stretch, dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        *NICE,
        *command(mode, plan, worker.port),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        if not mode.options:
            await process.stdout.readline()  # to open so many at once would be an attack of its own
        talk = asyncio.create_task(process.communicate())
        reins = asyncio.create_task(_rein_in(process, mode, plan))
        result = await _stretch(worker, plan)
        reins.cancel()
        await asyncio.gather(reins, return_exceptions=True)
        async with asyncio.timeout(60):
            output, _ = await talk
    finally:
        if process.returncode is None:
            process.kill()
    return result, last_status(output.decode(errors="replace"))


async def _rein_in(process: asyncio.subprocess.Process, mode: Mode, plan: Plan) -> None:
    if not mode.options:
        return
    await asyncio.sleep(plan.connections / ATTACK_RATE + PERIOD)
    try:
        while process.returncode is None:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(PERIOD - RUNS)
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(RUNS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)


def command(mode: Mode, plan: Plan, port: int) -> list[str]:
    """Return the command line of an attack on a port of this machine."""
    if not mode.options:
        numbers = [str(port), str(plan.connections * IDLE), str(plan.seconds)]
        return [sys.executable, "-m", "windlass.bench.holding", *numbers]
    url = f"http://127.0.0.1:{port}{mode.path}"
    numbers = [
        "-c",
        str(plan.connections),
        "-r",
        str(ATTACK_RATE),
        "-l",
        str(plan.seconds),
        "-p",
        "3",
    ]
    return [TOOL, *mode.options, "-u", url, *numbers]


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


def table(results: Results) -> Table:
    """Return the figures, a line a mode; without the attack, and beside it."""
    form = Table(title="the normal load", title_justify="left", box=SIMPLE)
    columns = (
        ("requests", "{}"),
        ("errors", "{}"),
        ("p50_ms", "{:.2f}"),
        ("p99_ms", "{:.2f}"),
        ("max_ms", "{:.1f}"),
        ("p99_ratio", "{:.2f}"),
        ("p99_ratio_of_rounds", "{:.2f}"),
        ("late_p99_ms", "{:.1f}"),
        ("router_cpu_ms", "{:.0f}"),
        ("held", "{}"),
        ("connected", "{}"),
    )
    form.add_column("")
    for name, _ in columns:
        form.add_column(name.replace("_", " "), justify="right")
    for name, figures in results.items():
        form.add_row(name, *(_cell(shape, figures[key]) for key, shape in columns))
    return form


def _cell(shape: str, value: object) -> str:
    if isinstance(value, list):
        return " ".join(shape.format(each) for each in value)
    return shape.format(value)


if __name__ == "__main__":
    sys.exit(main())
