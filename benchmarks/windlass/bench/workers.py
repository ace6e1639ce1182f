"""What a second router worker brings: requests per CPU second, and how evenly they are shared.

    python -m windlass.bench.workers --rounds 5 --out FILE

Two platforms, with one worker and with several, stand before an nginx each and get the same load by
turns. Where the load generator and nginx need the same cores, the rate cannot show what the workers
could do; their CPU time can: the speed-up is that of workers which have a core each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from windlass.bench.cputime import cpu_nanoseconds
from windlass.bench.machine import describe
from windlass.bench.own_platform import OwnPlatform, own_platform
from windlass.bench.wrk import wrk

SERVICE = "static"
CONNECTIONS = 128
_NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "hello, hello"; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch of load on one platform."""

    requests: int
    errors: int
    seconds: float
    cpu: tuple[float, ...]  # seconds of each worker

    @property
    def per_cpu_second(self) -> float:
        """Requests that the workers served in one second of their CPU time."""
        return self.requests / sum(self.cpu)

    @property
    def evenness(self) -> float:
        """All workers' CPU time over what it would be if all had had as much as the busiest."""
        return sum(self.cpu) / (max(self.cpu) * len(self.cpu))


async def measure(workers: int, rounds: int, seconds: float, folder: Path) -> dict[str, object]:
    """Load both platforms by turns; return the figures."""
    async with AsyncExitStack() as stack:
        platforms = {}
        for count in (1, workers):
            state = folder / f"workers-{count}"
            state.mkdir()
            options = ("--runtime", "process", "--workers", str(count))
            platforms[count] = await stack.enter_async_context(own_platform(state, *options))
            await _deploy(platforms[count], state)
        found: dict[int, list[Stretch]] = {count: [] for count in platforms}
        for number in range(rounds + 1):  # the first one warms up
            for count, platform in platforms.items():
                stretch = await _stretch(platform, seconds if number else 1.0, folder)
                if number:
                    found[count].append(stretch)
    return {"workers": workers, "seconds": seconds, **_figures(found[1], found[workers], workers)}


async def _deploy(platform: OwnPlatform, state: Path) -> None:
    script = state / "serve.sh"
    config = _NGINX.format(port="$PORT")
    script.write_text(
        f"cat > {state}/nginx.conf <<END\n{config}END\n"
        f"exec nginx -p {state} -e stderr -c {state}/nginx.conf\n"
    )
    await platform.run(
        *("deploy", SERVICE, "--exec", f"sh {script}", "--concurrency", "1000"),
        *("--min-instances", "1", "--max-instances", "1"),
    )


async def _stretch(platform: OwnPlatform, seconds: float, folder: Path) -> Stretch:
    pids = platform.workers()
    before = [cpu_nanoseconds(pid) for pid in pids]
    measured = await wrk(
        platform.url,
        folder,
        seconds=seconds,
        connections=CONNECTIONS,
        headers=(("Host", f"{SERVICE}.localhost"),),
    )
    used = [cpu_nanoseconds(pid) - was for pid, was in zip(pids, before, strict=True)]
    return Stretch(
        requests=measured.requests,
        errors=measured.errors,
        seconds=measured.seconds,
        cpu=tuple(each / 1e9 for each in used),
    )


def _figures(one: list[Stretch], several: list[Stretch], workers: int) -> dict[str, object]:
    efficiency = median(
        b.per_cpu_second / a.per_cpu_second for a, b in zip(one, several, strict=True)
    )
    evenness = median(stretch.evenness for stretch in several)
    return {
        "rounds": len(one),
        "requests_per_cpu_second": {
            "1": round(median(stretch.per_cpu_second for stretch in one)),
            str(workers): round(median(stretch.per_cpu_second for stretch in several)),
        },
        "requests_per_second": {
            "1": round(median(stretch.requests / stretch.seconds for stretch in one)),
            str(workers): round(median(s.requests / s.seconds for s in several)),
        },
        "errors": sum(stretch.errors for stretch in (*one, *several)),
        "efficiency": round(efficiency, 3),
        "evenness": round(evenness, 3),
        "speed_up_by_cpu_time": round(workers * efficiency * evenness, 3),
    }


def main() -> None:
    """Measure, and print or write JSON."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.workers", description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="windlass-workers-") as folder:
        figures = asyncio.run(measure(given.workers, given.rounds, given.seconds, Path(folder)))
    command = " ".join(["python -m windlass.bench.workers", *sys.argv[1:]])
    text = json.dumps({"command": command, "machine": describe(), **figures}, indent=2) + "\n"
    if given.out:
        given.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
