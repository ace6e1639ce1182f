"""Replaces the router's workers again and again under load, and counts the requests that are lost.

    python -m windlass.bench.reloads --reloads 100 --workers 2 --out FILE

Three kinds of clients, none of which sends a request twice: those that send one request after the
other on connections they keep, those whose kept connections are idle in between, and those that
open a connection for each request. Lost is every request without a whole answer of status 200.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from windlass.bench import load, machine
from windlass.bench.load import Load
from windlass.bench.own_platform import OwnPlatform, own_platform

SERVICE = "reloaded"
SERVER = "examples/hello/server.py"
STRETCH = 4.0  # seconds of load at a time
DRAINED_WITHIN = 120.0  # seconds: idle connections end after 75


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to reload, and under what."""

    reloads: int
    workers: int
    server: str = SERVER
    clients: int = 8  # of the closed loop
    idle_rate: float = 10.0  # requests per second of clients that are idle in between
    new_rate: float = 50.0  # requests per second, each on a connection of its own


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    reloads: int
    requests: int
    connections: int
    lost: int
    reasons: dict[str, int]
    seconds: float
    left_draining: int  # old workers that had not ended in time


async def measure(plan: Plan, state: Path) -> Outcome:
    """Reload as planned and return what was lost."""
    async with own_platform(state, "--runtime", "process", "--workers", str(plan.workers)) as own:
        server = f"{sys.executable} {plan.server}"
        await own.run("deploy", SERVICE, "--exec", server, "--min-instances", "1")
        kept = Load(
            host="127.0.0.1",
            port=own.http,
            host_header=f"{SERVICE}.localhost",
            path="/?ms=5",
            duration=STRETCH,
            clients=plan.clients,
        )
        idle = replace(kept, clients=None, rate=plan.idle_rate, path="/?ms=200")
        new = replace(
            kept, clients=None, rate=plan.new_rate, headers=(("Connection", "close"),), path="/"
        )
        done = asyncio.Event()
        began = time.monotonic()
        loads = [asyncio.create_task(_keep_up(each, done)) for each in (kept, idle, new)]
        try:
            for number in range(plan.reloads):
                await own.run("reload")
                print(f"reload {number + 1} of {plan.reloads}", file=sys.stderr, flush=True)
        finally:
            done.set()
            counted = await asyncio.gather(*loads)
        seconds = time.monotonic() - began
        left = await _drained(own, plan.workers)
    reasons: Counter[str] = sum((each.reasons for each in counted), Counter())
    return Outcome(
        reloads=plan.reloads,
        requests=sum(each.requests for each in counted),
        connections=sum(each.connections for each in counted),
        lost=reasons.total(),
        reasons=dict(reasons),
        seconds=round(seconds, 3),
        left_draining=left,
    )


@dataclass(slots=True)
class _Counted:
    requests: int
    connections: int
    reasons: Counter[str]


async def _keep_up(what: Load, done: asyncio.Event) -> _Counted:
    """Put the load on, one stretch after another, until it is enough."""
    counted = _Counted(0, 0, Counter())
    while not done.is_set():
        result = await load.run(what)
        counted.requests += result.requests
        counted.connections += result.connections
        counted.reasons += result.errors
    return counted


async def _drained(platform: OwnPlatform, workers: int) -> int:
    """Wait for the replaced workers' end; return how many are left."""
    try:
        async with asyncio.timeout(DRAINED_WITHIN):
            while len(platform.workers()) > workers:  # noqa: ASYNC110  (others end)
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    return len(platform.workers()) - workers


def main() -> None:
    """Reload, and print or write JSON; exit with 1 where a request was lost."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.reloads", description=__doc__)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    given = parser.parse_args()
    plan = Plan(given.reloads, given.workers)
    with tempfile.TemporaryDirectory(prefix="windlass-reloads-") as state:
        outcome = asyncio.run(measure(plan, Path(state)))
    command = " ".join(["python -m windlass.bench.reloads", *sys.argv[1:]])
    document = {
        "command": command,
        "machine": machine.describe(),
        "plan": asdict(plan),
        **asdict(outcome),
    }
    text = json.dumps(document, indent=2) + "\n"
    if given.out:
        given.out.write_text(text)
    print(text, end="")
    sys.exit(1 if outcome.lost or outcome.left_draining else 0)


if __name__ == "__main__":
    main()
