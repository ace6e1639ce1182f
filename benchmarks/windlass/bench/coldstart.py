"""Measures cold starts: from a request at zero instances to the first byte of its answer, through
the whole platform, beside the ways to start the same server without one.

    python -m windlass.bench.coldstart --out FILE

Every round does each way once, so that what disturbs the machine disturbs all of them. The image
windlass/static is that of examples/static; `make bench-coldstart` builds it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from windlass.bench import machine
from windlass.bench.coldstart_bare import bare_ways, run
from windlass.bench.own_platform import OwnPlatform, own_platform
from windlass.bench.thawing import measure as measure_thawing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROUNDS = 20
ZERO_WITHIN = 60.0  # seconds
STANDBY_WITHIN = 20.0
SCALING = ("--window", "1s", "--scale-to-zero-grace", "0s")
# Name, runtime, containers that stand by.
WAYS = (("oci", "oci", 0), ("oci_standby", "oci", 1), ("docker", "docker", 0))
PHASES = ("decide", "start", "first_listen", "probe", "first_byte")
# What the platform's ways are compared with, and how much longer they may take.
TARGETS = (
    ("oci", "oci_runtime_alone", 1.5),
    ("oci_standby", "oci_runtime_alone", 0.5),
    ("oci_standby", "docker_run", 0.2),
    ("docker", "docker_run", 1.1),
)


@dataclass(frozen=True, slots=True)
class App:
    """A server in an image, and how it is started without."""

    name: str
    image: str
    command: tuple[str, ...]
    cwd: str = "/"
    script: str = ""  # run with this machine's Python; empty: the image's command runs here, too

    def here(self, root: Path) -> list[str]:
        """Return the words that start it on this machine, its image's files being at `root`."""
        if self.script:
            # The distribution's Python, as in the image, not the project's own.
            return [shutil.which("python3", path="/usr/bin:/bin") or sys.executable, self.script]
        return [str(root) + self.command[0], *self.command[1:]]


@dataclass(frozen=True, slots=True)
class Way:
    """A service of a platform, which is at zero instances between rounds."""

    platform: OwnPlatform
    service: str
    standby: int

    async def cold_start(self) -> dict[str, float]:
        """Return the seconds of a request at zero instances, and of what they were spent on."""
        await self.until_zero()
        sent = time.time()
        seconds = await request(self.platform.http, self.service)
        [instance] = await self.platform.living(self.service)
        marks = [sent, instance["started"], instance["launched"]]
        marks += [instance["deaf"] or instance["launched"], instance["ready"], sent + seconds]
        parts = (after - before for before, after in pairwise(marks))
        return {"total": seconds, **dict(zip(PHASES, parts, strict=True))}

    async def until_zero(self) -> None:
        """Wait until no instance is left, and what is to stand by does.

        Raises:
            TimeoutError: it takes too long.
        """
        await self.platform.until_living(self.service, 0, 0, ZERO_WITHIN)
        async with asyncio.timeout(STANDBY_WITHIN):
            while len(await self.platform.ask(f"services/{self.service}/standbys")) != self.standby:  # noqa: ASYNC110  (another process changes it)
                await asyncio.sleep(0.1)


async def request(port: int, service: str) -> float:
    """Return the seconds from sending a request until the first byte of an answer with 200.

    Raises:
        ConnectionError: it was answered with anything else.
    """
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {service}.localhost\r\n\r\n".encode())
        head = await reader.read(4096)
        seconds = time.monotonic() - begun
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"{service} answered {head[:300]!r}")
        return seconds
    finally:
        writer.close()


async def measure(apps: Sequence[App], rounds: int, folder: Path) -> dict[str, Any]:
    """Do every way once a round, and return what was found of each app."""
    found: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    async with AsyncExitStack() as stack:
        platforms = {}
        for runtime in ("oci", "docker"):
            state = folder / runtime
            state.mkdir()
            platforms[runtime] = await stack.enter_async_context(
                own_platform(state, "--runtime", runtime, "--log-format", "json")
            )
        ways = {app.name: await _deploy(app, platforms) for app in apps}
        runtime = _oci_runtime(platforms["oci"].log())
        bare = {app.name: await bare_ways(app, folder, runtime) for app in apps}
        for number in range(rounds):
            for app in apps:
                for name, way in bare[app.name].items():
                    found[app.name][name].append({"total": await way.run()})
                for name, service in ways[app.name].items():
                    found[app.name][name].append(await service.cold_start())
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        thawing = await measure_thawing(platforms["oci"], apps[0].image)
    figures = {app.name: _figures(found[app.name]) for app in apps}
    return figures | {"thaw": thawing, "oci_runtime": Path(runtime).name}


def _oci_runtime(log: str) -> str:
    """Return the path of the OCI runtime that a platform logged to have chosen."""
    opened = (json.loads(line) for line in log.splitlines() if "oci runtime open" in line)
    return str(next(opened)["runtime"])


async def _deploy(app: App, platforms: Mapping[str, OwnPlatform]) -> dict[str, Way]:
    ways = {}
    for name, runtime, standby in WAYS:
        service = f"{app.name}-{name}".replace("_", "-")
        flags = ["--image", app.image, "--standby", str(standby), *SCALING]
        await platforms[runtime].run("deploy", service, *flags)
        ways[name] = Way(platforms[runtime], service, standby)
    return ways


def _figures(ways: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, object]:
    """Return median and 95th percentile of each way, its parts' medians, and how it compares."""
    figures: dict[str, Any] = {}
    for name, runs in ways.items():
        totals = sorted(each["total"] for each in runs)
        figures[name] = {
            "p50_ms": _milliseconds(statistics.median(totals)),
            "p95_ms": _milliseconds(totals[min(len(totals) - 1, round(0.95 * len(totals)))]),
            "rounds": len(totals),
        }
        if "start" in runs[0]:
            figures[name]["breakdown_p50_ms"] = {
                phase: _milliseconds(statistics.median(each[phase] for each in runs))
                for phase in PHASES
            }
    figures["ratios"] = {
        f"{name} / {other}": {
            "p50": round(figures[name]["p50_ms"] / figures[other]["p50_ms"], 3),
            "at_most": most,
        }
        for name, other, most in TARGETS
        if name in figures and other in figures
    }
    return figures


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _table(found: Mapping[str, Any]) -> str:
    lines = []
    for app, ways in found.items():
        if app in ("thaw", "oci_runtime"):
            lines.append(f"{app}: {ways}")
            continue
        lines.append(f"{app:<20}{'p50 ms':>10}{'p95 ms':>10}   " + "  ".join(PHASES))
        for name, figures in ways.items():
            if name == "ratios":
                lines += [
                    f"  {pair}: {r['p50']} (at most {r['at_most']})" for pair, r in figures.items()
                ]
                continue
            parts = figures.get("breakdown_p50_ms", {})
            told = "  ".join(f"{parts[phase]:>{len(phase)}}" for phase in PHASES) if parts else ""
            lines.append(f"  {name:<18}{figures['p50_ms']:>10}{figures['p95_ms']:>10}   {told}")
    return "\n".join(lines)


async def apps_of(static_image: str, examples: Path) -> list[App]:
    """Return the static server, and the Python app, whose image is built (on windlass/base)."""
    tag, folder = "windlass/hello:coldstart", examples / "hello"
    words = ["build", "--quiet", "--build-arg", "BASE=windlass/base", "--tag", tag]
    await run("docker", *words, str(folder))
    words = ["python3", "/app/server.py"]
    return [
        App("static", static_image, ("/server",)),
        App("python_app", tag, tuple(words), "/", str(folder / "server.py")),
    ]


def main() -> None:
    """Measure, print a table, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.coldstart", description=__doc__)
    parser.add_argument("--image", default="windlass/static", help="of examples/static")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    given = parser.parse_args()

    async def all_of_it(folder: Path) -> dict[str, Any]:
        apps = await apps_of(given.image, Path(__file__).parents[3] / "examples")
        return await measure(apps, given.rounds, folder)

    with tempfile.TemporaryDirectory(prefix="windlass-coldstart-") as folder:
        try:
            found = uvloop.run(all_of_it(Path(folder)))
        except subprocess.CalledProcessError as error:
            sys.exit(f"{' '.join(error.cmd)}: {error.stderr}")
    print(_table(found))
    if given.out:
        command = " ".join(["python -m windlass.bench.coldstart", *sys.argv[1:]])
        document = {**found, "command": command, "machine": machine.describe()}
        given.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
