"""Drives the OCI runtime (crun or runc), with conmon beside each container; the runtime is chosen
by trying it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.oci import logs
from windlass.runtime.oci.commands import SEARCHED, CommandFailed, ended, run, spawn
from windlass.runtime.oci.kernel import BIND, READ_ONLY, REMOUNT, mount, readable
from windlass.runtime.oci.sandbox import clear

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.runtime.oci.parts import Parts

# conmon reads its locale's files at each start otherwise, and the runtimes need nothing more.
_ENV = {"PATH": SEARCHED}


_RELEASED = 10.0  # seconds that a waiting container may take to answer


class _Report(msgspec.Struct):
    """What conmon says once the runtime has made the container, or has not."""

    pid: int
    message: str = ""


class _State(msgspec.Struct):
    status: str


@dataclass(frozen=True, slots=True)
class Engine:
    """One OCI runtime with its folder of states, and conmon."""

    runtime: str
    conmon: str
    states: Path

    async def create(self, container: str, bundle: Path) -> tuple[int, int]:
        """Make a container that waits to be started; return the pids of conmon and its own.

        The bundle's folder gets conmon.pid, container.pid, log/ and, at the end, exit/.

        Raises:
            CommandFailed: with the runtime's message.
        """
        (bundle / "log").mkdir()
        (bundle / "exit").mkdir()
        reading, writing = os.pipe()
        try:
            with (bundle / "conmon.err").open("wb") as complaints:
                # conmon leaves a child behind that lives as long as the container.
                conmon = spawn(
                    self._conmon(container, bundle),
                    complaint=complaints,
                    env=_ENV | {"_OCI_SYNCPIPE": str(writing)},
                    cwd=bundle,
                    kept=(writing,),
                )
            os.close(writing)
            writing = -1
            status = await ended(conmon)
            await readable(reading)
            said = os.read(reading, 65536)
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)
        if not said:
            complaint = (bundle / "conmon.err").read_text(errors="replace").strip()
            raise CommandFailed("conmon", status, complaint or "it ended without a word")
        report = msgspec.json.decode(said, type=_Report)
        if report.pid < 0:
            raise CommandFailed(Path(self.runtime).name, report.pid, report.message)
        return int((bundle / "conmon.pid").read_text()), report.pid

    def _conmon(self, container: str, bundle: Path) -> list[str]:
        return [
            *(self.conmon, "--cid", container, "--cuuid", container, "--name", container),
            *("--runtime", self.runtime, "--runtime-arg=--root", f"--runtime-arg={self.states}"),
            *("--bundle", str(bundle), "--log-path", f"k8s-file:{bundle}/log/log"),
            *("--log-size-max", str(logs.MAXIMUM), "--no-sync-log", "--full-attach"),
            *("--conmon-pidfile", f"{bundle}/conmon.pid"),
            *("--container-pidfile", f"{bundle}/container.pid", "--exit-dir", f"{bundle}/exit"),
        ]

    async def start(self, container: str) -> None:
        """Let a created container run.

        Raises:
            CommandFailed: with the runtime's message.
        """
        fifo = self.states / container / "exec.fifo"
        if Path(self.runtime).name == "runc" and fifo.exists():
            await _release(fifo)
        else:
            await self._run("start", container)

    async def delete(self, container: str) -> None:
        """Kill what is left of a container and forget it; no fault if it is unknown."""
        if (self.states / container).exists():
            await self._run("delete", "--force", container)

    def names(self) -> set[str]:
        """Return the containers that the runtime keeps a state of."""
        return {entry.name for entry in self.states.iterdir()} if self.states.exists() else set()

    async def is_running(self, container: str) -> bool:
        """Say whether the container was started and has not ended; it may be frozen."""
        try:
            said = await self._run("state", container)
        except CommandFailed:
            return False
        return msgspec.json.decode(said, type=_State).status in ("running", "paused")

    async def _run(self, *words: str) -> bytes:
        return await run(self.runtime, "--root", self.states, *words, env=_ENV)


async def _release(fifo: Path) -> None:
    """Do what `runc start` does: read the byte that the waiting container writes to its fifo.

    runc itself takes several milliseconds to load before it gets there, half of what a start from
    standby takes. The fifo has been its protocol since 1.0.
    """
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(_RELEASED):
            await readable(descriptor)
    except TimeoutError:
        raise CommandFailed("runc", 1, "the container does not answer; it may be dead") from None
    finally:
        os.close(descriptor)
    os.unlink(fifo)  # to runc, a container with a fifo is one that was not started


async def choose(
    parts: Parts, states: Path, trial: Path, specify: Callable[[Path], dict[str, object]]
) -> Engine:
    """Return the first runtime that runs /bin/true in a container made as ours are.

    `trial` is a folder to do it in; `specify` makes the specification for a root file system.

    Raises:
        RuntimeUnavailable: none does; with what each said.
    """
    failures = []
    for runtime in parts.runtimes:
        engine = Engine(runtime, parts.conmon, states)
        try:
            await _try(engine, trial, specify)
        except (CommandFailed, OSError) as error:
            failures.append(f"{Path(runtime).name}: {str(error).splitlines()[-1]}")
        else:
            return engine
    raise RuntimeUnavailable(
        "no OCI runtime works on this machine",
        f"{'; '.join(failures)}. Install another of crun and runc, or use --runtime docker",
    )


async def _try(engine: Engine, trial: Path, specify: Callable[[Path], dict[str, object]]) -> None:
    clear(trial)
    root = trial / "rootfs"
    root.mkdir(parents=True)
    try:
        # This machine's own files serve as an image, read-only: /bin/true needs no more.
        mount("/", root, "none", BIND)
        mount("/", root, "none", BIND | REMOUNT | READ_ONLY)
        (trial / "config.json").write_bytes(msgspec.json.encode(specify(root)))
        await engine.create(trial.name, trial)
        await engine.start(trial.name)
    finally:
        await engine.delete(trial.name)
        clear(trial)
