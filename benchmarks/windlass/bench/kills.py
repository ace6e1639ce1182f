"""Kills a whole platform at random moments under load, and compares its ledger with the client's
own record of every request.

    python -m windlass.bench.kills --kills 200 --json FILE

Node and router workers get SIGKILL at once; whether the instances outlive them is the runtime's
affair. After each kill the platform is started again and asked what it has counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from windlass.bench import machine
from windlass.bench.kill_record import Record, Verdict, judge
from windlass.bench.killed_platform import KilledPlatform

CLIENTS = 4
WAITS = (20, 120)  # ms that a request takes
MILLISECOND = 1_000_000  # ns
LOADED = (0.3, 4.0)  # seconds of load before a kill
SERVER = "examples/hello/server.py"


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to kill, and what."""

    kills: int
    seed: int
    server: str
    runtime: str = "process"
    image: str = ""  # instead of the server, for docker and oci


async def measure(plan: Plan, state: Path) -> list[Verdict]:
    """Kill as planned and return what each kill cost."""
    chance = random.Random(plan.seed)
    platform = KilledPlatform(state, plan.runtime)
    verdicts = []
    try:
        await platform.start()
        await platform.deploy(plan.image, plan.server)
        before = await platform.counted()
        for number in range(plan.kills):
            record = await _round(platform, chance)
            await platform.start()
            after = await platform.counted()
            verdicts.append(judge(record, before, after))
            before = after
            print(f"{number + 1}/{plan.kills} {verdicts[-1]}", file=sys.stderr, flush=True)
    finally:
        await platform.end()
    return verdicts


async def _round(platform: KilledPlatform, chance: random.Random) -> Record:
    """Put load on the platform until it is killed; return the client's record."""
    record = Record()
    clients = [
        asyncio.create_task(_client(platform, record, random.Random(chance.random())))
        for _ in range(CLIENTS)
    ]
    await asyncio.sleep(chance.uniform(*LOADED))
    record.killed = platform.kill()
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return record


async def _client(platform: KilledPlatform, record: Record, chance: random.Random) -> None:
    headers = {"Host": platform.host}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            wait = chance.randint(*WAITS)
            with record.request(wait * MILLISECOND) as request:
                async with session.get(f"{platform.url}/?ms={wait}") as response:
                    await response.read()
                    request.answered = response.status == 200


def report(plan: Plan, verdicts: list[Verdict]) -> dict[str, object]:
    """Return the verdicts in short, with the machine."""
    lost = sorted(verdict.lost for verdict in verdicts)
    admitted = sorted(verdict.admitted for verdict in verdicts)
    return {
        "machine": machine.describe(),
        "plan": asdict(plan),
        "requests": sum(verdict.sent for verdict in verdicts),
        "sound": sum(verdict.is_sound for verdict in verdicts),
        "lost_requests": sum(verdict.lost_requests for verdict in verdicts),
        "least_lost_seconds": round(lost[0], 6),
        "median_lost_seconds": round(lost[len(lost) // 2], 6),
        "most_lost_seconds": round(lost[-1], 6),
        "least_admitted_seconds": round(admitted[0], 6),
        "median_admitted_seconds": round(admitted[len(admitted) // 2], 6),
        "most_admitted_seconds": round(admitted[-1], 6),
        "most_hidden_seconds": round(max(verdict.hidden for verdict in verdicts), 6),
    }


def main() -> None:
    """Kill, and print or write JSON; exit with 1 where a ledger was wrong."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtime", default="process")
    parser.add_argument("--image", default="", help="of the hello example, for docker and oci")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    plan = Plan(given.kills, given.seed, SERVER, given.runtime, given.image)
    with tempfile.TemporaryDirectory(prefix="windlass-kills-") as state:
        verdicts = asyncio.run(measure(plan, Path(state)))
    command = " ".join(["python -m windlass.bench.kills", *sys.argv[1:]])
    text = json.dumps({"command": command, **report(plan, verdicts)}, indent=2) + "\n"
    if given.json:
        given.json.write_text(text)
    print(text, end="")
    sys.exit(0 if all(verdict.is_sound for verdict in verdicts) else 1)


if __name__ == "__main__":
    main()
