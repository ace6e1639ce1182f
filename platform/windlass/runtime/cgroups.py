"""Control groups of instances that are plain processes: made, limited, asked and removed, on
version 1 and 2; knows no instance, only names of groups."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windlass.model.service import Limits

log = structlog.get_logger(__name__)

PROCESSES = 4096  # processes and threads of one instance, so that no fork bomb leaves it
_PERIOD = 100_000  # microseconds, the kernel's default
_LEAST_QUOTA = 1_000  # microseconds; the kernel refuses less
_NEEDED = frozenset({"memory", "cpu"})
_WANTED = _NEEDED | {"pids"}


@dataclass(frozen=True, slots=True)
class Group:
    """One group: a folder in each hierarchy that limits it (one folder on version 2)."""

    folders: tuple[Path, ...]

    @property
    def entrances(self) -> list[Path]:
        """The files into which a process writes its number to join."""
        return [folder / "cgroup.procs" for folder in self.folders]

    def memory_kills(self) -> int:
        """Return how many processes of the group its memory limit has killed."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(FileNotFoundError):
                    return _count(folder / name, "oom_kill")
        return 0

    async def remove(self) -> None:
        """Kill every process of the group and remove it; no fault if it is gone."""
        for _ in range(400):  # 2 s: a killed process leaves its group only when it is gone
            self._kill()
            if self._is_removed():
                return
            await asyncio.sleep(0.005)
        log.warning("a control group cannot be removed", folders=[str(f) for f in self.folders])

    def _kill(self) -> None:
        for entrance in self.entrances:
            with contextlib.suppress(FileNotFoundError):
                for number in entrance.read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(number), signal.SIGKILL)

    def _is_removed(self) -> bool:
        for folder in self.folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Groups:
    """Where groups can be made: the folder of each hierarchy that holds ours."""

    version: int
    parents: dict[str, Path]  # controller -> folder; one and the same on version 2

    def make(self, name: str, limits: Limits) -> Group:
        """Make a group with an instance's limits.

        Raises:
            OSError: the kernel refused.
        """
        folders = tuple(dict.fromkeys(parent / name for parent in self.parents.values()))
        if self.version == 2:
            self._enable_controllers()
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for controller, file, value in settings(self.version, limits):
                if controller in self.parents:
                    _write(self.parents[controller] / name / file, value)
        except OSError:
            for folder in folders:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        return Group(folders)

    def left(self) -> list[tuple[str, Group]]:
        """Return the groups that are there, with their names."""
        parents = tuple(dict.fromkeys(self.parents.values()))
        names = {entry.name for parent in parents for entry in _subfolders(parent)}
        return [(name, Group(tuple(parent / name for parent in parents))) for name in sorted(names)]

    def remove_parents(self) -> None:
        """Remove the folders that hold our groups, where none is left."""
        for parent in self.parents.values():
            with contextlib.suppress(OSError):
                parent.rmdir()

    def _enable_controllers(self) -> None:
        parent = self.parents["memory"]
        parent.mkdir(exist_ok=True)
        _write(parent / "cgroup.subtree_control", " ".join(f"+{c}" for c in sorted(self.parents)))


def settings(version: int, limits: Limits) -> list[tuple[str, str, str]]:
    """Return (controller, file, value) for each limit, in the order to write them.

    See the kernel's admin-guide/cgroup-v1/memory.rst, scheduler/sched-bwc.rst, cgroup-v2.rst.
    """
    memory, processes = str(limits.memory), ("pids", "pids.max", str(PROCESSES))
    quota = max(limits.milli_cpu * _PERIOD // 1000, _LEAST_QUOTA)
    if version == 2:
        return [
            ("memory", "memory.max", memory),
            ("memory", "memory.swap.max", "0"),
            ("cpu", "cpu.max", f"{quota} {_PERIOD}"),
            processes,
        ]
    return [
        ("memory", "memory.limit_in_bytes", memory),
        ("memory", "memory.memsw.limit_in_bytes", memory),  # memory and swap together
        ("cpu", "cpu.cfs_period_us", str(_PERIOD)),
        ("cpu", "cpu.cfs_quota_us", str(quota)),
        processes,
    ]


def find(
    name: str,
    mounts: Path = Path("/proc/self/mountinfo"),
    membership: Path = Path("/proc/self/cgroup"),
) -> Groups | None:
    """Return where groups can be made, below a folder `name`; None: nowhere that we may write."""
    table = [line.split() for line in mounts.read_text().splitlines()]
    kinds = [(row[row.index("-") + 1], Path(row[4]), row[-1].split(",")) for row in table]
    first = {
        controller: point
        for kind, point, options in kinds
        if kind == "cgroup"
        for controller in _WANTED.intersection(options)
    }
    if first.keys() >= _NEEDED:
        if all(os.access(point, os.W_OK) for point in first.values()):
            return Groups(1, {controller: point / name for controller, point in first.items()})
        return None
    unified = [point for kind, point, _ in kinds if kind == "cgroup2"]
    for candidate in _candidates(unified[0], membership) if unified else ():
        if controllers := _usable_controllers(candidate):
            return Groups(2, dict.fromkeys(controllers, candidate / name))
    return None


def _candidates(mount: Path, membership: Path) -> Iterator[Path]:
    """Yield the root, which only root may use, then our own group's ancestors, nearest first."""
    yield mount
    for line in membership.read_text().splitlines():
        if line.startswith("0::/"):
            own = mount / line.removeprefix("0::/")
            yield from (folder for folder in own.parents if folder.is_relative_to(mount))


def _usable_controllers(folder: Path) -> frozenset[str]:
    """Return the controllers that groups in this folder can have; none: it is of no use.

    A process may move between two groups only if their nearest common ancestor is ours.
    """
    if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        return frozenset()
    try:
        there = _WANTED.intersection((folder / "cgroup.controllers").read_text().split())
        enabled = (folder / "cgroup.subtree_control").read_text().split()
        if missing := there.difference(enabled):
            words = " ".join(f"+{controller}" for controller in sorted(missing))
            _write(folder / "cgroup.subtree_control", words)
    except OSError:
        return frozenset()
    return there if there >= _NEEDED else frozenset()


def _write(file: Path, value: str) -> None:
    # Swap files are absent where the kernel does not account for swap; then none is limited.
    if "sw" in file.name and not file.exists():
        return
    # Not write_text: a control file is never created.
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _count(file: Path, key: str) -> int:
    rows = (line.split() for line in file.read_text().splitlines())
    return next((int(row[1]) for row in rows if row[0] == key), 0)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []
