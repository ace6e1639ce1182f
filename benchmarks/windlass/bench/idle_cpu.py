"""Measures what instances of a program that never rests use while nobody calls them: frozen as they
are by default, and with their CPU always (`--no-cpu-throttling`).

    python -m windlass.bench.idle_cpu --out FILE

The image windlass/base must be there (deploy/setup/base-image.sh).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from windlass.bench import machine
from windlass.bench.own_platform import OwnPlatform, own_platform
from windlass.runtime.choose import identity
from windlass.runtime.oci.subnet import name_of

BUSY = """
import os, threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
HTTPServer(("", int(os.environ["PORT"])), SimpleHTTPRequestHandler).serve_forever()
"""
MOUNT = Path("/sys/fs/cgroup")
UP_WITHIN = 300.0  # seconds
SETTLED = 3.0  # seconds from the last start until all are frozen, by far


IMAGE = "windlass/base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many instances, each limited to so much CPU, and for how long they are watched."""

    image: str = IMAGE
    frozen: int = 50
    awake: int = 5
    cpu: str = "200m"
    seconds: float = 10.0


def used(state: Path) -> float:
    """Return the CPU seconds that a platform's instances have used, those that ended aside."""
    group = f"windlass-{name_of(identity(state))}"
    if (MOUNT / "cgroup.controllers").exists():
        lines = (MOUNT / group / "cpu.stat").read_text().split()
        return int(lines[lines.index("usage_usec") + 1]) / 1e6
    return int((MOUNT / "cpuacct" / group / "cpuacct.usage").read_text()) / 1e9


async def measure(plan: Plan, state: Path) -> dict[str, object]:
    """Return the share of one core that the instances use together, in percent."""
    async with own_platform(state, "--runtime", "oci", "--log-format", "json") as platform:
        frozen = await _watch(platform, plan, "frozen", plan.frozen)
        awake = await _watch(platform, plan, "awake", plan.awake, "--no-cpu-throttling")
    return {"frozen": frozen, "awake": awake, "seconds": plan.seconds, "cpu_limit": plan.cpu}


async def _watch(
    platform: OwnPlatform, plan: Plan, service: str, count: int, *flags: str
) -> dict[str, object]:
    words = ["--image", plan.image, "--command", "python3", "--args", f"^;;^-c;;{BUSY}"]
    words += ["--cpu", plan.cpu, "--min-instances", str(count), "--memory", "64Mi", *flags]
    await platform.run("deploy", service, *words)
    async with asyncio.timeout(UP_WITHIN):
        while not await _all_are_ready(platform, service, count):  # noqa: ASYNC110  (another process changes it)
            await asyncio.sleep(0.2)
    await asyncio.sleep(SETTLED)
    begun, before = time.monotonic(), used(platform.state)
    await asyncio.sleep(plan.seconds)
    share = (used(platform.state) - before) / (time.monotonic() - begun)
    frozen = sum(each["frozen"] for each in await platform.living(service))
    await platform.run("services", "delete", service)
    return {
        "instances": count,
        "of_them_frozen": frozen,
        "percent_of_a_core": round(share * 100, 3),
    }


async def _all_are_ready(platform: OwnPlatform, service: str, count: int) -> bool:
    ready = [each for each in await platform.living(service) if each["state"] == "ready"]
    return len(ready) >= count


def main() -> None:
    """Measure, and print or write JSON."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.idle_cpu", description=__doc__)
    parser.add_argument("--image", default=IMAGE, help="an image with python3")
    parser.add_argument("--frozen", type=int, default=50, help="instances that are frozen")
    parser.add_argument("--awake", type=int, default=5, help="instances that are not")
    parser.add_argument("--seconds", type=float, default=10.0, help="to watch each kind for")
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    given = parser.parse_args()
    plan = Plan(image=given.image, frozen=given.frozen, awake=given.awake, seconds=given.seconds)
    with tempfile.TemporaryDirectory(prefix="windlass-idle-") as state:
        found = uvloop.run(measure(plan, Path(state)))
    command = " ".join(["python -m windlass.bench.idle_cpu", *sys.argv[1:]])
    text = json.dumps({"command": command, "machine": machine.describe(), **found}, indent=2)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
