"""Reads and writes the cgroups of this state's instances directly, version 1 and 2: freezing,
the CPU limit, what the memory limit killed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from windlass.runtime.base import Thaw
from windlass.runtime.oci.spec import cpu_quota

_MOUNT = Path("/sys/fs/cgroup")


class Cgroups:
    """All cgroups below one parent, one for each container."""

    def __init__(self, parent: str, mount: Path = _MOUNT) -> None:
        self.parent = parent
        self._mount = mount
        self._unified = (mount / "cgroup.controllers").exists()
        # A kernel without swap accounting has no such file, and a limit on it would be refused.
        self.limits_swap = self._unified or (
            (mount / "memory/memory.memsw.limit_in_bytes").exists()
        )

    def path(self, container: str) -> str:
        """Return the path that goes into the container's specification."""
        return f"/{self.parent}/{container}"

    def freeze(self, container: str) -> None:
        """Stop every process of the container; each keeps all it has.

        Raises:
            FileNotFoundError: there is no such container.
        """
        controller, name, value, _ = self._freezer
        self._write(controller, container, name, value)

    def thaw(self, container: str) -> None:
        """Let a frozen container run on; nothing happens to one that is not frozen.

        Raises:
            FileNotFoundError: there is no such container.
        """
        controller, name, _, value = self._freezer
        self._write(controller, container, name, value)

    def thawing(self, container: str) -> Thaw:
        """Return how another process thaws the container."""
        controller, name, _, value = self._freezer
        return Thaw(str(self._folder(controller, container) / name), value)

    def limit_cpu(self, container: str, milli_cpu: int) -> None:
        """Set how much CPU the container may use, in thousandths of one.

        Raises:
            FileNotFoundError: there is no such container.
        """
        quota = cpu_quota(milli_cpu)
        if self._unified:
            self._write("", container, "cpu.max", f"{quota} 100000")
        else:
            self._write("cpu", container, "cpu.cfs_quota_us", str(quota))

    def memory_kills(self, container: str) -> int:
        """Return how many of the container's processes its memory limit has killed."""
        name = "memory.events" if self._unified else "memory.oom_control"
        with contextlib.suppress(FileNotFoundError):
            for line in (self._folder("memory", container) / name).read_text().splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count)
        return 0

    def memory_limit(self, container: str) -> int:
        """Return the bytes that the container may use.

        Raises:
            FileNotFoundError: there is no such container.
        """
        name = "memory.max" if self._unified else "memory.limit_in_bytes"
        return int((self._folder("memory", container) / name).read_text())

    def names(self) -> set[str]:
        """Return the containers that have a cgroup in any hierarchy."""
        return {entry.name for top in self._tops() for entry in top.iterdir() if entry.is_dir()}

    def clear(self, container: str) -> None:
        """Kill what is in a container's cgroups and remove those that are empty."""
        with contextlib.suppress(FileNotFoundError):
            self.thaw(container)
        for top in self._tops():
            for folder in _deepest_first(top / container):
                _empty(folder)

    def close(self) -> None:
        """Remove the parent, where no container is left."""
        for top in self._tops():
            with contextlib.suppress(OSError):
                top.rmdir()

    def _tops(self) -> list[Path]:
        roots = [self._mount] if self._unified else [p for p in self._mount.iterdir() if p.is_dir()]
        return [root / self.parent for root in roots if (root / self.parent).is_dir()]

    @property
    def _freezer(self) -> tuple[str, str, str, str]:
        """Controller, file, what freezes, what thaws."""
        if self._unified:
            return "", "cgroup.freeze", "1", "0"
        return "freezer", "freezer.state", "FROZEN", "THAWED"

    def _folder(self, controller: str, container: str) -> Path:
        root = self._mount if self._unified else self._mount / controller
        return root / self.parent / container

    def _write(self, controller: str, container: str, name: str, value: str) -> None:
        # Not write_text: a cgroup's file must never be created, only written.
        descriptor = os.open(self._folder(controller, container) / name, os.O_WRONLY)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)


def _deepest_first(folder: Path) -> list[Path]:
    return [Path(path) for path, _, _ in os.walk(folder, topdown=False)]


def _empty(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    # What was killed leaves a moment later: the next sweep takes what is still busy.
    with contextlib.suppress(OSError):
        folder.rmdir()
