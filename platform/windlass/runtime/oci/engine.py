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
from windlass.runtime.oci.commands import CommandFailed, run
from windlass.runtime.oci.conmon import ENV, Conmon
from windlass.runtime.oci.kernel import BIND, READ_ONLY, REMOUNT, mount, readable
from windlass.runtime.oci.launcher import Launcher, launcher_for
from windlass.runtime.oci.sandbox import clear

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.runtime.oci.parts import Parts

_RELEASED = 10.0  # seconds that a waiting container may take to answer


class _State(msgspec.Struct):
    status: str


@dataclass(frozen=True, slots=True)
class Engine:
    """One OCI runtime with its folder of states, and conmon; where both are started."""

    runtime: str
    conmon: str
    states: Path
    launcher: Launcher

    @property
    def name(self) -> str:
        return Path(self.runtime).name

    def launch(self, container: str, bundle: Path) -> Conmon:
        """Start conmon for a container that is yet to be made, with its files, in `bundle`.

        The bundle's folder gets conmon.pid, container.pid, log/ and, at the end, exit/.

        Raises:
            OSError: it could not be started.
        """
        (bundle / "log").mkdir()
        (bundle / "exit").mkdir()
        return Conmon.launch(self._conmon(container, bundle), bundle, self.launcher)

    async def create(self, conmon: Conmon) -> tuple[int, int]:
        """Make a container that waits to be started; return the pids of conmon and its own.

        Raises:
            CommandFailed: with the runtime's message.
        """
        report = await conmon.begin()
        if report.pid < 0:
            raise CommandFailed(self.name, report.pid, report.message)
        return int((conmon.bundle / "conmon.pid").read_text()), report.pid

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
        release = _RELEASES.get(self.name)
        if release and fifo.exists():
            await release(fifo)
        else:
            await self._run("start", container)

    async def delete(self, container: str) -> None:
        """Kill what is left of a container and forget it; no fault if it is unknown."""
        state = self.states / container
        if not state.exists():
            return
        try:
            await self._run("delete", "--force", container)
        except CommandFailed:
            if state.exists():  # else it was another one's last step
                raise

    def names(self) -> set[str]:
        """Return the containers that the runtime keeps a state of."""
        return _names(self.states)

    async def is_running(self, container: str) -> bool:
        """Say whether the container was started and has not ended; it may be frozen."""
        try:
            said = await self._run("state", container)
        except CommandFailed:
            return False
        return msgspec.json.decode(said, type=_State).status in ("running", "paused")

    async def _run(self, *words: str) -> bytes:
        return await run(
            self.runtime, "--root", self.states, *words, env=ENV, launcher=self.launcher
        )


# A runtime takes several milliseconds to load before its `start` gets to the fifo at which a
# container waits: half of what a start from standby takes. To both, a container without a fifo is
# one that was started.


async def _release_runc(fifo: Path) -> None:
    """Read the byte that the container writes; runc's protocol since 1.0."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(_RELEASED):
            await readable(descriptor)
        answered = bool(os.read(descriptor, 1))
    except TimeoutError:
        answered = False
    finally:
        os.close(descriptor)
    if not answered:
        raise CommandFailed("runc", 1, "the container does not answer; it may be dead")
    os.unlink(fifo)


async def _release_crun(fifo: Path) -> None:
    """Write the byte that the container reads; crun's protocol in all its releases."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CommandFailed("crun", 1, f"the container does not answer: {error}") from error
    os.unlink(fifo)
    try:
        os.write(descriptor, b"\0")
    finally:
        os.close(descriptor)


_RELEASES = {"crun": _release_crun, "runc": _release_runc}


async def choose(
    parts: Parts, states: Path, trial: Path, specify: Callable[[Path], dict[str, object]]
) -> Engine:
    """Return the first runtime that runs /bin/true in a container made as ours are.

    `trial` is a folder to do it in; `specify` makes the specification for a root file system. One
    that an earlier platform left containers of is tried first: no other knows them.

    Raises:
        RuntimeUnavailable: none does; with what each said.
    """
    failures = []
    folders = {runtime: states / Path(runtime).name for runtime in parts.runtimes}
    for runtime in sorted(parts.runtimes, key=lambda runtime: not _names(folders[runtime])):
        try:
            engine = Engine(runtime, parts.conmon, folders[runtime], launcher_for(runtime))
            await _try(engine, trial, specify)
        except (CommandFailed, OSError) as error:
            failures.append(f"{Path(runtime).name}: {str(error).splitlines()[-1]}")
        else:
            return engine
    raise RuntimeUnavailable(
        "no OCI runtime works on this machine",
        f"{'; '.join(failures)}. Install the other of crun and runc, or use --runtime docker",
    )


async def _try(engine: Engine, trial: Path, specify: Callable[[Path], dict[str, object]]) -> None:
    engine.launcher.call(clear, trial)
    root = trial / "rootfs"
    root.mkdir(parents=True)
    try:
        # This machine's own files serve as an image, read-only: /bin/true needs no more.
        engine.launcher.call(mount, "/", root, "none", BIND)
        engine.launcher.call(mount, "/", root, "none", BIND | REMOUNT | READ_ONLY)
        (trial / "config.json").write_bytes(msgspec.json.encode(specify(root)))
        await engine.create(engine.launch(trial.name, trial))
        await engine.start(trial.name)
    finally:
        await engine.delete(trial.name)
        engine.launcher.call(clear, trial)


def _names(states: Path) -> set[str]:
    return {entry.name for entry in states.iterdir()} if states.exists() else set()
