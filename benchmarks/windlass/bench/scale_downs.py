"""Lets instances go under load, in waves and by redeploying, and counts requests that fail.

    python -m windlass.bench.scale_downs --image IMAGE

IMAGE answers GET /?ms=100 after 100 ms, as examples/static and examples/hello do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from windlass.bench import crowd, document, load
from windlass.bench.load import Load
from windlass.bench.own_platform import OwnPlatform, own_platform
from windlass.router.descriptors import raise_limit

CONCURRENCY = 2
SURGE_MS = 1500
STEADY_MS = 30
WINDOW = "6s"
PATIENCE = 60.0  # seconds that a client waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is to happen."""

    image: str
    scale_downs: int = 1000  # at least
    surge: int = 100  # requests at once at the begin of a wave, two for each instance
    wave: float = 25.0  # seconds, in which the surge's instances go again
    steady: float = 20.0  # requests per second throughout
    redeployed: int = 20_000  # requests while the service is redeployed again and again
    redeployed_rate: float = 200.0
    runtime: str = "oci"


@dataclass(slots=True)
class Tally:
    """What was sent and how it failed; `done` counts scale-downs or redeployments."""

    done: int = 0
    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)


async def measure(plan: Plan, state: Path) -> dict[str, Tally]:
    """Let instances go as planned, first in waves, then by redeploying."""
    async with own_platform(state, "--runtime", plan.runtime) as platform:
        return {
            "scale_downs": await _waves(plan, platform),
            "redeploys": await _redeploys(plan, platform),
        }


async def _waves(plan: Plan, platform: OwnPlatform) -> Tally:
    flags = ["--image", plan.image, "--concurrency", str(CONCURRENCY), "--max-instances", "100"]
    await platform.run("deploy", "waves", *flags, "--window", WINDOW)
    tally = Tally()
    while tally.done < plan.scale_downs:
        steady = _load(platform, "waves", STEADY_MS, plan.steady, plan.wave)
        request = f"GET /?ms={SURGE_MS} HTTP/1.1\r\nHost: waves.localhost\r\n\r\n".encode()
        surge = crowd.at_once("127.0.0.1", platform.http, request, plan.surge, PATIENCE)
        under, above = await asyncio.gather(load.run(steady), surge)
        tally.requests += under.requests + plan.surge
        tally.errors.update(under.errors)
        tally.errors.update(above.errors)
        tally.done = platform.log().count("kind=InstanceDraining")
        print(f"{tally}", file=sys.stderr, flush=True)
    return tally


async def _redeploys(plan: Plan, platform: OwnPlatform) -> Tally:
    flags = ["--image", plan.image, "--concurrency", "20", "--window", WINDOW]
    await platform.run("deploy", "rolling", *flags)
    duration = plan.redeployed / plan.redeployed_rate
    sending = asyncio.create_task(
        load.run(_load(platform, "rolling", STEADY_MS, plan.redeployed_rate, duration))
    )
    tally = Tally()
    while not sending.done():
        tally.done += 1
        await platform.run("deploy", "rolling", *flags, "--set-env-vars", f"ROUND={tally.done}")
    result = await sending
    tally.requests, tally.errors = result.requests, result.errors
    print(f"{tally}", file=sys.stderr, flush=True)
    return tally


def _load(
    platform: OwnPlatform, service: str, milliseconds: int, rate: float, duration: float
) -> Load:
    return Load(
        host="127.0.0.1",
        port=platform.http,
        host_header=f"{service}.localhost",
        path=f"/?ms={milliseconds}",
        rate=rate,
        duration=duration,
        timeout=PATIENCE,
    )


def main() -> None:
    """Measure, and print or write JSON; exit with 1 where a request failed."""
    parser = argparse.ArgumentParser(
        prog="python -m windlass.bench.scale_downs", description=__doc__
    )
    parser.add_argument("--image", required=True)
    parser.add_argument("--scale-downs", type=int, default=1000)
    parser.add_argument("--redeployed", type=int, default=20_000, help="requests")
    parser.add_argument("--runtime", default="oci")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    plan = Plan(
        image=given.image,
        scale_downs=given.scale_downs,
        redeployed=given.redeployed,
        runtime=given.runtime,
    )
    raise_limit()
    with tempfile.TemporaryDirectory(prefix="windlass-scale-downs-") as state:
        tallies = uvloop.run(measure(plan, Path(state)))
    found = {name: asdict(tally) for name, tally in tallies.items()}
    document.keep("scale_downs", {"plan": asdict(plan), **found}, given.json)
    sys.exit(1 if any(tally.errors for tally in tallies.values()) else 0)


if __name__ == "__main__":
    main()
