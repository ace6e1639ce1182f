"""Measures how well requests are packed: instance-seconds that were busy, over the fewest possible.

    python -m windlass.bench.packing --duration 30 --json FILE

The fewest are the integral of ceil(requests in flight / concurrency), which the router keeps for
what it serves. A real platform with the process runtime serves the example under three loads:
steady, a sine, and bursts, which arrive evenly at that rate. By chance (`--by-chance`) they ask for
more: a request that met full instances holds another one for as long as it takes, though a moment
later there is room.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.bench import machine, schedule
from windlass.bench.load import Load, run
from windlass.bench.own_platform import own_platform
from windlass.bench.tally import SECOND
from windlass.billing.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windlass.bench.tally import LoadResult
    from windlass.billing.usage import Usage

SERVICE = "packed"
SERVER = "examples/hello/server.py"
WORK = 200  # ms that a request takes
BOUND = 1.1  # times the fewest instance-seconds that are allowed
_STEP = 0.0005  # seconds: arrivals' resolution
LOADS = ("steady", "sine", "bursty")
FLAGS = ("--min-instances", "5", "--max-instances", "30")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured; seconds."""

    duration: float = 30.0
    # On average, a second. In flight they are far from a multiple of the concurrency, at which a
    # steady load would need one instance more by turns.
    rate: float = 90.0
    concurrency: int = 5
    seed: int = 1
    by_chance: bool = False
    server: str = SERVER


@dataclass(frozen=True, slots=True)
class Packed:
    """What one load took; instance-seconds."""

    load: str
    requests: int
    errors: int
    most_in_flight: int
    instances: int
    busy: float  # as the ledger has it
    fewest: float  # by what the router had in flight
    fewest_by_schedule: float  # by when the client sent, and its mean service time
    rounding: float  # that Cloud Run adds where each slice is rounded up to 100 ms

    @property
    def ratio(self) -> float:
        """Busy instance-seconds over the fewest."""
        return self.busy / self.fewest if self.fewest else 1.0

    @property
    def is_sound(self) -> bool:
        """Whether nothing failed and the bound was kept."""
        return not self.errors and self.ratio <= BOUND


def rates(plan: Plan) -> dict[str, Callable[[float], float]]:
    """Return each load's requests a second by its moment; all have the plan's rate on average."""
    rate = plan.rate

    def bursts(moment: float) -> float:
        return rate * (3.1 if moment % 4 < 1 else 0.3)

    return {
        "steady": lambda _: rate,
        "sine": lambda moment: rate * (1 + 0.8 * math.sin(math.tau * moment / 10)),
        "bursty": bursts,
    }


def moments(rate: Callable[[float], float], plan: Plan) -> tuple[float, ...]:
    """Return when requests arrive at this rate: one whenever its integral is a whole number.

    By chance instead, they arrive whenever it has grown by an exponentially distributed number: a
    Poisson process.
    """
    chance = random.Random(plan.seed)

    def apart() -> float:
        return chance.expovariate(1) if plan.by_chance else 1.0

    found, grown, due = [], 0.0, apart()
    for step in range(round(plan.duration / _STEP)):
        grown += rate(step * _STEP) * _STEP
        while grown >= due:
            found.append(step * _STEP)
            due += apart()
    return tuple(found)


async def measure(plan: Plan, names: Sequence[str] = LOADS) -> list[Packed]:
    """Put each load on a platform of its own and return what it took."""
    found = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="windlass-packing-") as state:
            found.append(await _measure(plan, name, Path(state)))
            print(f"{name}: {found[-1].ratio:.3f}", file=sys.stderr, flush=True)
    return found


async def _measure(plan: Plan, name: str, state: Path) -> Packed:
    arrivals = moments(rates(plan)[name], plan)
    what = ["--exec", f"{sys.executable} {plan.server}", "--concurrency", str(plan.concurrency)]
    async with own_platform(state, "--runtime", "process") as platform:
        await platform.run("deploy", SERVICE, *what, *FLAGS)
        load = Load(
            host="127.0.0.1",
            port=platform.http,
            host_header=f"{SERVICE}.localhost",
            path=f"/?ms={WORK}",
            moments=arrivals,
            duration=plan.duration,
        )
        result = await run(load)
    ledger = Ledger(state / "ledger.db")
    try:
        usage = ledger.usage(0, 4e9)
    finally:
        ledger.close()
    return _packed(plan, name, arrivals, result, usage)


def _packed(
    plan: Plan, name: str, arrivals: tuple[float, ...], result: LoadResult, usage: Usage
) -> Packed:
    total = usage.total()
    return Packed(
        load=name,
        requests=result.requests,
        errors=result.error_count,
        most_in_flight=result.peak_in_flight,
        instances=len({instance.instance for instance in usage.instances}),
        busy=total.busy / SECOND,
        fewest=sum(revision.counts.packed for revision in usage.revisions) / SECOND,
        fewest_by_schedule=schedule.packed_seconds(
            arrivals, result.service.mean / SECOND, plan.concurrency
        ),
        rounding=total.rounding_100ms / SECOND,
    )


def report(plan: Plan, found: list[Packed]) -> dict[str, object]:
    """Return all that was measured, with the machine."""
    return {
        "machine": machine.describe(),
        "plan": asdict(plan),
        "bound": BOUND,
        "loads": [
            asdict(one) | {"ratio": round(one.ratio, 4), "is_sound": one.is_sound} for one in found
        ],
    }


def main() -> None:
    """Measure, print or write JSON; exit with 1 where the bound is not kept."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.packing", description=__doc__)
    plan = Plan()
    parser.add_argument("--duration", type=float, default=plan.duration, help="seconds per load")
    parser.add_argument("--rate", type=float, default=plan.rate, help="requests a second")
    parser.add_argument("--concurrency", type=int, default=plan.concurrency)
    parser.add_argument("--by-chance", action="store_true", help="a Poisson process, not judged")
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    plan = Plan(given.duration, given.rate, given.concurrency, given.seed, given.by_chance)
    found = asyncio.run(measure(plan))
    command = " ".join(["python -m windlass.bench.packing", *sys.argv[1:]])
    text = json.dumps({"command": command, **report(plan, found)}, indent=2) + "\n"
    if given.json:
        given.json.write_text(text)
    print(text, end="")
    sys.exit(0 if given.by_chance or all(one.is_sound for one in found) else 1)


if __name__ == "__main__":
    main()
