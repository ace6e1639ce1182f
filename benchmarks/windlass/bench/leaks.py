"""Starts and stops thousands of instances on the oci runtime, and counts what is left: mounts,
namespaces, interfaces, addresses, cgroups, processes, files, memory.

    python -m windlass.bench.leaks --image IMAGE

Only what belongs to the platform under test is counted, not what others do on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import uvloop

from windlass.bench import document
from windlass.bench.own_platform import OwnPlatform, own_platform
from windlass.runtime.choose import identity
from windlass.runtime.oci.subnet import name_of

SERVICE = "leaks"
ENDED_WITHIN = 120.0  # seconds, for all instances of a round
SETTLED_WITHIN = 30.0
CYCLES = 3000
THOUSAND = 1000  # lives
# By so much may a node grow over the last thousand lives. Over those before it fills caches, and
# Python makes its table of interned strings larger, once and by 0.9 MiB.
STEADY_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many instances are started and stopped, and how many of them at a time."""

    image: str
    cycles: int = CYCLES
    at_a_time: int = 20
    looked_every: int = 100  # lives


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a platform holds at one moment."""

    mounts: int
    namespaces: int
    interfaces: int
    addresses: int
    cgroups: int
    processes: int  # in its cgroups, and conmons
    folders: int  # of containers, and of the OCI runtime's states
    node_files: int  # open ones
    worker_files: int


@dataclass(frozen=True, slots=True)
class Memory:
    """KiB that were resident when so many instances had come and gone."""

    lives: int
    node_kib: int
    workers_kib: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts after a first round and after all, and memory now and then."""

    before: Counts
    after: Counts
    memory: list[Memory]

    def node_grown(self, lives: int) -> list[int]:
        """Return by how many KiB the node grew over each so many lives."""
        marks = [each.node_kib for each in self.memory if each.lives % lives == 0]
        return [after - before for before, after in pairwise(marks)]

    def nothing_left(self) -> bool:
        """Return whether all counts are as before, and the node's memory has levelled off."""
        steady = all(kib < STEADY_KIB for kib in self.node_grown(THOUSAND)[-1:])
        return steady and self.before == self.after


async def measure(plan: Plan, state: Path) -> Outcome:
    """Start and stop as planned. The first round, which fills caches and pools, is not counted."""
    async with own_platform(state, "--runtime", "oci") as platform:
        await _round(plan, platform)
        before = await _settled(platform, None)
        memory = [_memory(platform, 0)]
        for lives in range(plan.at_a_time, plan.cycles + 1, plan.at_a_time):
            await _round(plan, platform)
            if lives % plan.looked_every == 0:
                memory.append(_memory(platform, lives))
                print(f"{memory[-1]} {count(platform)}", file=sys.stderr, flush=True)
        after = await _settled(platform, before)
        return Outcome(before, after, memory)


async def _round(plan: Plan, platform: OwnPlatform) -> None:
    many = str(plan.at_a_time)
    flags = ["--image", plan.image, "--min-instances", many, "--max-instances", many]
    await platform.run("deploy", SERVICE, *flags)
    await platform.until_living(SERVICE, plan.at_a_time, plan.at_a_time, ENDED_WITHIN)
    await platform.run("services", "delete", SERVICE)
    async with asyncio.timeout(ENDED_WITHIN):
        while list((platform.state / "oci/containers").glob("*/record.json")):  # noqa: ASYNC110  (another process changes it)
            await asyncio.sleep(0.05)


async def _settled(platform: OwnPlatform, wanted: Counts | None) -> Counts:
    """Return the counts once they are as wanted or stay the same: pools are filled behind us."""
    latest, since = count(platform), 0.0
    for _ in range(int(SETTLED_WITHIN / 0.5)):
        await asyncio.sleep(0.5)
        now = count(platform)
        since = since + 0.5 if now == latest else 0.0
        latest = now
        if now == wanted or (wanted is None and since >= 3.0):
            break
    return latest


def count(platform: OwnPlatform) -> Counts:
    """Count what belongs to a platform."""
    oci, bridge = platform.state / "oci", name_of(identity(platform.state))
    parents = [top / f"windlass-{bridge}" for top in _hierarchies()]
    groups = [group for parent in parents if parent.is_dir() for group in _folders(parent)]
    states = [state for runtime in _folders(oci / "states") for state in _folders(runtime)]
    held = {pid for group in groups for pid in _lines(group / "cgroup.procs")}
    interfaces = Path(f"/sys/class/net/{bridge}/brif")
    return Counts(
        mounts=len(mounts_of(platform.node, str(oci))),
        namespaces=len(list((oci / "network/netns").iterdir())),
        interfaces=len(list(interfaces.iterdir())) if interfaces.is_dir() else 0,
        addresses=sum(path.name[0].isdigit() for path in (oci / "network/leases").glob("*/*")),
        cgroups=len(groups),
        processes=len(held | _naming(str(oci))),
        folders=len(_folders(oci / "containers")) + len(states),
        node_files=_open_files(platform.node),
        worker_files=sum(_open_files(pid) for pid in platform.workers()),
    )


def _hierarchies() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    return [root, *_folders(root)]


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # gone meanwhile
        return []


def mounts_of(pid: int, word: str) -> set[str]:
    """Return where any thread of a process sees a mount with a word in it."""
    found = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            table = (thread / "mountinfo").read_text().splitlines()
            found |= {line.split()[4] for line in table if word in line}
    return found


def _naming(word: str) -> set[str]:
    """Return the processes with a word in their command line."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (process / "cmdline").read_bytes():
                found.add(process.name)
        except OSError:
            continue
    return found


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _memory(platform: OwnPlatform, lives: int) -> Memory:
    workers = sum(_resident(pid) for pid in platform.workers())
    return Memory(lives, _resident(platform.node), workers)


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Measure, and print or write JSON; exit with 1 where something is left or memory grows on."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.leaks", description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    plan = Plan(image=given.image, cycles=given.cycles)
    with tempfile.TemporaryDirectory(prefix="windlass-leaks-") as state:
        outcome = uvloop.run(measure(plan, Path(state)))
    grown = {"node_grown_kib_by_thousand": outcome.node_grown(THOUSAND)}
    document.keep("leaks", {"plan": asdict(plan), **grown, **asdict(outcome)}, given.json)
    sys.exit(0 if outcome.nothing_left() else 1)


if __name__ == "__main__":
    main()
