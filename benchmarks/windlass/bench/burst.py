"""Sends a burst of requests at once to a service that is at zero instances: who is turned away, how
many instances serve it, how long clients wait, and what it takes of the platform itself.

    python -m windlass.bench.burst --image IMAGE

IMAGE answers GET /?ms=100 after 100 ms, as examples/static and examples/hello do. Bursts are sent
to services as they are deployed, and to such as have a container on standby for each instance.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from windlass.bench import crowd, document
from windlass.bench.own_platform import OwnPlatform, own_platform
from windlass.router.descriptors import raise_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CONCURRENCY = 80
PATIENCE = 60.0  # seconds that a client waits
SETTLED = 2.0  # seconds in which the platform does what it puts off while requests wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is sent how often; `mode` is cloudrun or lambda."""

    image: str
    mode: str = "cloudrun"
    requests: int = 1000
    milliseconds: int = 100  # that each request takes
    concurrency: int = CONCURRENCY
    most: int = 100  # instances
    rounds: int = 5
    runtime: str = "oci"
    standby: int | None = None  # containers that stand by for the burst; None: one


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """One burst, from zero; latencies in milliseconds since a request was sent, CPU in seconds."""

    cold_start: float  # a single request that waits for nothing but the start, just before
    p50: float
    p99: float
    highest: float
    allowed: float  # that p99 is to stay below
    sending: float  # of all requests, on connections that were open
    errors: dict[str, int]
    instances: int  # started for it
    node_cpu: float
    starting_cpu: float  # of the programs that the node ran
    workers_cpu: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """All bursts, and the most memory that the platform ever had."""

    bursts: list[Burst]
    node_kib: int
    workers_kib: int


async def measure(plan: Plan, state: Path) -> Outcome:
    """Send the bursts, one after the other, each to a new service at zero instances."""
    async with own_platform(state, "--runtime", plan.runtime, "--log-format", "json") as platform:
        bursts = []
        for number in range(plan.rounds):
            bursts.append(await _burst(plan, platform, number))
            print(f"{number + 1}/{plan.rounds} {bursts[-1]}", file=sys.stderr, flush=True)
        used = platform.used()
        return Outcome(bursts, used.node_kib, used.workers_kib)


def _flags(plan: Plan, standby: int | None) -> list[str]:
    flags = ["--image", plan.image, "--max-instances", str(plan.most), "--no-deploy-health-check"]
    if standby is not None:
        flags += ["--standby", str(standby)]
    if plan.mode == "lambda":
        return [*flags, "--mode", "lambda"]
    return [*flags, "--concurrency", str(plan.concurrency)]


async def _burst(plan: Plan, platform: OwnPlatform, number: int) -> Burst:
    async with _service(plan, platform, f"single-{number}", None) as send:
        single = await send(1, 0)
    cold_start = _milliseconds(single.percentile(50))
    async with _service(plan, platform, f"burst-{number}", plan.standby) as send:
        before = platform.used()
        result = await send(plan.requests, plan.milliseconds)
        after = platform.used()
        await asyncio.sleep(SETTLED)  # what was decided in the burst is started meanwhile
        instances = await platform.ask(f"services/burst-{number}/instances")
    return Burst(
        cold_start=cold_start,
        p50=_milliseconds(result.percentile(50)),
        p99=_milliseconds(result.percentile(99)),
        highest=_milliseconds(result.percentile(100)),
        allowed=cold_start + 4 * plan.milliseconds,
        sending=_milliseconds(result.sending),
        errors=dict(result.errors),
        instances=len(instances),
        node_cpu=round(after.node - before.node, 3),
        starting_cpu=round(after.started - before.started, 3),
        workers_cpu=round(after.workers - before.workers, 3),
    )


@contextlib.asynccontextmanager
async def _service(
    plan: Plan, platform: OwnPlatform, name: str, standby: int | None
) -> AsyncIterator[Callable[[int, int], Awaitable[crowd.Outcome]]]:
    """Deploy a service for a while; yield what sends it so many requests of so many ms."""

    def send(count: int, milliseconds: int) -> Awaitable[crowd.Outcome]:
        request = f"GET /?ms={milliseconds} HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n"
        return crowd.at_once("127.0.0.1", platform.http, request.encode(), count, PATIENCE)

    await platform.run("deploy", name, *_flags(plan, standby))
    async with asyncio.timeout(PATIENCE):
        while len(await platform.ask(f"services/{name}/standbys")) < (standby or 0):  # noqa: ASYNC110  (another process changes it)
            await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLED)
    yield send
    await platform.run("services", "delete", name)


def _milliseconds(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, 1)


def report(plan: Plan, outcome: Outcome) -> dict[str, object]:
    """Return the bursts and their medians."""
    bursts = outcome.bursts
    numbers = ("cold_start", "p50", "p99", "highest", "allowed", "sending")
    costs = ("node_cpu", "starting_cpu", "workers_cpu")
    medians = {
        name: round(statistics.median(getattr(burst, name) for burst in bursts), 3)
        for name in (*numbers, *costs)
    }
    return {
        "plan": asdict(plan),
        "errors": sum(sum(burst.errors.values()) for burst in bursts),
        "instances": [burst.instances for burst in bursts],
        "medians": medians,
        "p99_within": sum(burst.p99 < burst.allowed for burst in bursts),
        "node_kib": outcome.node_kib,
        "workers_kib": outcome.workers_kib,
        "bursts": [asdict(burst) for burst in bursts],
    }


def main() -> None:
    """Measure, and print or write JSON; exit with 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.burst", description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--requests", type=int, default=1000, help="at once, concurrency 80")
    parser.add_argument(
        "--lambda-requests", type=int, default=100, help="at once, one per instance"
    )
    parser.add_argument("--ms", type=int, default=100, help="that each request takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runtime", default="oci")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    raise_limit()
    asked = (
        ("cloudrun", "cloudrun", given.requests, None),
        ("lambda", "lambda", given.lambda_requests, None),
        ("cloudrun_standby", "cloudrun", given.requests, -(-given.requests // CONCURRENCY)),
        ("lambda_standby", "lambda", given.lambda_requests, given.lambda_requests),
    )
    found: dict[str, dict[str, object]] = {}
    for name, mode, requests, standby in asked:
        plan = Plan(
            image=given.image,
            mode=mode,
            requests=requests,
            milliseconds=given.ms,
            rounds=given.rounds,
            runtime=given.runtime,
            standby=standby,
        )
        with tempfile.TemporaryDirectory(prefix="windlass-burst-") as state:
            found[name] = report(plan, uvloop.run(measure(plan, Path(state))))
    document.keep("burst", found, given.json)
    sys.exit(1 if any(figures["errors"] for figures in found.values()) else 0)


if __name__ == "__main__":
    main()
