"""Measures the router beside other proxies, on one machine in one run: `make bench-router`.

Every proxy stands before the same static backend and gets the same loads, one proxy at a time, in
interleaved rounds. What counts is CPU time per request, which a busy machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from windlass.bench.cases import CASES, Case, measure, summarise
from windlass.bench.connections import memory
from windlass.bench.cputime import tree
from windlass.bench.fake_node import FakeNode
from windlass.bench.grpc_calls import PACKAGE, TOOL, CallFault
from windlass.bench.holding import GET, hold, serve_origin
from windlass.bench.machine import describe
from windlass.bench.proxies import BACKEND, NGINX, PROXIES, WINDLASS
from windlass.bench.servers import CannotStart, Server, running
from windlass.bench.wrk import WrkFault
from windlass.router.descriptors import raise_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windlass.bench.cases import Round
    from windlass.bench.proxies import Proxy

ONLY_HTTP1 = "aiohttp"  # the proxy that passes neither WebSockets nor gRPC
DIRECT = "direct"  # nothing between load and backend
IDLE = "idle"  # the case that is no load: connections that are held
_SETTLED = 1.0  # seconds after which memory is looked at

Results = dict[str, dict[str, dict[str, object]]]  # case, proxy, figure


def main() -> int:
    """Run the measurement that the command line asks for; return the exit status."""
    options = _options().parse_args()
    console = Console(stderr=True)
    cases = [case for case in CASES if case.name in options.cases]
    proxies = [proxy for proxy in PROXIES if proxy.name in options.proxies]
    tools = {"wrk": "wrk"}
    if any(case.calls for case in cases):
        tools[TOOL] = PACKAGE
    if options.install:
        _install(tools, proxies, console)
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        names = ", ".join(missing)
        console.print(f"cannot measure: not installed: {names}; try --install", style="red")
        return 1
    try:
        document = uvloop.run(_bench(cases, proxies, options, console))
    except (CannotStart, WrkFault, CallFault, ConnectionError) as error:
        console.print(f"cannot measure: {error}", style="red", markup=False)
        return 1
    if options.out:
        Path(options.out).write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m windlass.bench.router_bench", description=__doc__
    )
    names, proxies = [case.name for case in CASES], [proxy.name for proxy in PROXIES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    parser.add_argument("--proxies", nargs="+", choices=proxies, default=proxies)
    parser.add_argument("--rounds", type=_at_least_one, default=5)
    parser.add_argument("--seconds", type=_at_least_one, default=3, help="of load, each time")
    parser.add_argument("--idle", type=int, default=10_000, help="connections to hold; 0: none")
    parser.add_argument("--install", action="store_true", help="apt-get install what is missing")
    parser.add_argument("--note", default="", help="what else is to be known of these figures")
    parser.add_argument("--out", help="write the figures to this file as JSON")
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {number}")
    return number


def _install(tools: Mapping[str, str], proxies: Sequence[Proxy], console: Console) -> None:
    wanted = {proxy.package for proxy in (BACKEND, *proxies) if not proxy.path() and proxy.package}
    wanted |= {package for tool, package in tools.items() if shutil.which(tool) is None}
    if not wanted:
        return
    if os.geteuid() != 0:
        console.print(f"not root, so not installed: {', '.join(sorted(wanted))}", style="yellow")
        return
    console.print(f"apt-get install {' '.join(sorted(wanted))}")
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *sorted(wanted)]
    subprocess.run(command, stdout=sys.stderr, check=False)


async def _bench(
    cases: Sequence[Case], proxies: Sequence[Proxy], options: argparse.Namespace, console: Console
) -> dict[str, object]:
    rounds, seconds = options.rounds, options.seconds
    with tempfile.TemporaryDirectory(prefix="windlass-bench-") as name:
        directory = Path(name)
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(running(BACKEND, directory, 0))
            servers = {DIRECT: Server(backend.port, 0)}
            skipped: dict[str, str] = {}
            for proxy in proxies:
                try:
                    servers[proxy.name] = await _start(proxy, directory, backend.port, stack)
                except CannotStart as error:
                    skipped[proxy.name] = str(error)
                    console.print(f"without {proxy.name}: {error}", style="yellow", markup=False)
            results: Results = {}
            for case in cases:
                async with AsyncExitStack() as own:
                    behind = await _servers_of(case, servers, backend.port, directory, own, console)
                    found = await _case(case, behind, rounds, seconds, directory, console)
                results[case.name] = found
                Console(width=100).print(table(case.name, found))
            if options.idle:
                results[IDLE] = await _idle(servers, options.idle, console)
                Console(width=100).print(idle_table(results[IDLE]))
    settings = {"rounds": rounds, "seconds": seconds, "skipped": skipped, "note": options.note}
    return {"machine": describe(), "settings": settings, **results}


async def _servers_of(
    case: Case,
    servers: dict[str, Server],
    backend: int,
    directory: Path,
    stack: AsyncExitStack,
    console: Console,
) -> dict[str, Server]:
    """Return what the case is measured on: others are started where it takes another setting."""
    is_other = case.is_websocket or case.calls > 0
    if not is_other and case.concurrency == Case.concurrency:
        return servers
    place = directory / case.name
    place.mkdir()
    if not is_other:
        router = next(proxy for proxy in PROXIES if proxy.name == WINDLASS)
        own = await _start(router, place, backend, stack, case.concurrency)
        return {name: own if name == WINDLASS else server for name, server in servers.items()}
    if case.calls:
        behind = (await stack.enter_async_context(running(BACKEND, place, 0, grpc=True))).port
    else:
        origin, behind = await serve_origin()
        stack.callback(origin.close)
    found = {DIRECT: Server(behind, 0)}
    for proxy in PROXIES:
        if proxy.name in servers and proxy.name != ONLY_HTTP1:
            console.print(f"{case.name}: start {proxy.name}", style="dim")
            found[proxy.name] = await _start(proxy, place, behind, stack, grpc=case.calls > 0)
    return found


async def _idle(
    servers: dict[str, Server], count: int, console: Console
) -> dict[str, dict[str, object]]:
    """Hold connections of one answered request each; return the memory that each takes."""
    raise_limit()
    found: dict[str, dict[str, object]] = {}
    for name in [name for name in (WINDLASS, NGINX) if name in servers]:
        server = servers[name]
        console.print(f"{IDLE}: {count} connections, {name}", style="dim")
        before = _memory(server.pid)
        try:
            held = await hold(server.port, count, GET)
        except (OSError, TimeoutError) as error:
            console.print(f"{IDLE}: without {name}: {error}", style="yellow", markup=False)
            continue
        await asyncio.sleep(_SETTLED)
        grown = _memory(server.pid) - before
        lost = sum(one.lost for one in held)
        for one in held:
            one.close()
        await asyncio.sleep(_SETTLED)
        each = {"connections": count, "lost": lost, "kib_per_connection": grown / count}
        found[name] = dict(each)
    return found


def _memory(pid: int) -> int:
    """Return KiB resident in the process and all that it started."""
    return sum(memory(member) for member in tree(pid))


def idle_table(results: dict[str, dict[str, object]]) -> Table:
    """Return what idle connections take, a line a proxy."""
    result = Table(title=IDLE, title_justify="left", box=SIMPLE)
    for name in ("", "connections", "lost", "KiB each"):
        result.add_column(name, justify="right" if name else "left")
    for name, figures in results.items():
        each = f"{figures['kib_per_connection']:.2f}"
        result.add_row(name, str(figures["connections"]), str(figures["lost"]), each)
    return result


async def _start(
    proxy: Proxy,
    directory: Path,
    backend: int,
    stack: AsyncExitStack,
    concurrency: int = Case.concurrency,
    *,
    grpc: bool = False,
) -> Server:
    if proxy.name == WINDLASS:
        node = FakeNode(backend, concurrency, h2c=grpc)
        (directory / proxy.name).mkdir()
        await node.listen(directory / proxy.name / "link")
        stack.push_async_callback(node.close)
    return await stack.enter_async_context(running(proxy, directory, backend, grpc=grpc))


async def _case(
    case: Case,
    servers: dict[str, Server],
    rounds: int,
    seconds: float,
    directory: Path,
    console: Console,
) -> dict[str, dict[str, object]]:
    """Measure every server in every round; each round begins with another one."""
    found: dict[str, list[Round]] = {name: [] for name in servers}
    names = list(servers)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            console.print(f"{case.name}: round {number + 1} of {rounds}, {name}", style="dim")
            if number == 0:
                await measure(case, servers[name], 1, directory)  # to warm up; not counted
            found[name].append(await measure(case, servers[name], seconds, directory))
    return summarise(case, found)


def table(case: str, results: dict[str, dict[str, object]]) -> Table:
    """Return one case's figures, a line a proxy."""
    columns = {
        "requests/s": ("requests_per_second", "{:.0f}"),
        "p50 ms": ("p50_ms", "{:.2f}"),
        "p99 ms": ("p99_ms", "{:.2f}"),
        "p99.9 ms": ("p999_ms", "{:.2f}"),
        "CPU µs/request": ("cpu_us_per_request", "{:.1f}"),
        "of nginx": ("ratio_to_nginx", "{:.2f}"),
        "errors": ("errors", "{}"),
    }
    result = Table(title=case, title_justify="left", box=SIMPLE)
    result.add_column("")
    for label in columns:
        result.add_column(label, justify="right")
    for name, figures in results.items():
        cells = [
            form.format(figures[key]) if key in figures else "" for key, form in columns.values()
        ]
        result.add_row(name, *cells)
    return result


if __name__ == "__main__":
    sys.exit(main())
