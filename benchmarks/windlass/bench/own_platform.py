"""A platform of a measurement's own: `windlass up` on free ports, commanded as a user does, and the
processes that it consists of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

READY_WITHIN = 60.0  # seconds
STOPPED_WITHIN = 60.0
LIVING = ("starting", "ready", "draining", "stopping")
_POLL = 0.05


class CommandFailed(Exception):
    """A command of the platform did not do what it was told; carries what it said."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a platform's processes have used so far: CPU seconds, and KiB at most at one time."""

    node: float
    started: float  # of the programs that the node ran to start and end instances
    workers: float
    node_kib: int
    workers_kib: int


class OwnPlatform:
    """`windlass up` with a state folder and the options it is given."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state, self._options = state, options
        self.http, self.admin = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.http}"

    async def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            CommandFailed: it ended at once; with its log.
        """
        self._process = self._up()
        async with aiohttp.ClientSession() as session, asyncio.timeout(READY_WITHIN):
            while not await _answers(session, f"http://127.0.0.1:{self.admin}/healthz"):
                if self._process.poll() is not None:
                    raise CommandFailed(self.log()[-4000:])
                await asyncio.sleep(_POLL)

    def _up(self) -> subprocess.Popen[bytes]:
        words = ["up", "--state", str(self.state), *self._options]
        words += ["--http", f"127.0.0.1:{self.http}", "--admin", f"127.0.0.1:{self.admin}"]
        with (self.state / "up.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "windlass.deploy.cli", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def run(self, *words: str) -> str:
        """Run a client command; return its stdout.

        Raises:
            CommandFailed: with what it said.
        """
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "windlass.deploy.cli", *words],
            env={**os.environ, "WINDLASS_SERVER": f"http://127.0.0.1:{self.admin}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    async def ask(self, path: str) -> Any:
        """Return what the admin API says at a path below /api/v1/."""
        url = f"http://127.0.0.1:{self.admin}/api/v1/{path}"
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(url) as response,
        ):
            return json.loads(await response.read())

    async def living(self, service: str) -> list[dict[str, Any]]:
        """Return a service's instances that have not ended."""
        instances = await self.ask(f"services/{service}/instances")
        return [each for each in instances if each["state"] in LIVING]

    async def until_living(self, service: str, least: int, most: int, seconds: float) -> None:
        """Wait until so many instances live.

        Raises:
            TimeoutError: they do not within so many seconds.
        """
        async with asyncio.timeout(seconds):
            # Another process starts and ends them.
            while not least <= len(await self.living(service)) <= most:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)

    def log(self) -> str:
        """Return what the platform logged."""
        return (self.state / "up.log").read_text()

    @property
    def node(self) -> int:
        """The node's process id."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """Return the router workers' process ids."""
        return [int(file.read_text()) for file in self.state.glob("worker-*.pid")]

    def used(self) -> Used:
        """Return what the processes have used."""
        own, started = _cpu(self.node)
        return Used(
            node=own,
            started=started,
            workers=sum(_cpu(pid)[0] for pid in self.workers()),
            node_kib=_highest(self.node),
            workers_kib=sum(_highest(pid) for pid in self.workers()),
        )

    def kill(self) -> int:
        """Kill node and workers; return the moment, in CLOCK_MONOTONIC nanoseconds."""
        assert self._process is not None
        workers = self.workers()
        moment = time.monotonic_ns()
        for pid in (self.node, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        return moment

    async def end(self) -> None:
        """Stop it as a user does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            async with asyncio.timeout(STOPPED_WITHIN):
                await asyncio.to_thread(self._process.wait)


@contextlib.asynccontextmanager
async def own_platform(state: Path, *options: str) -> AsyncIterator[OwnPlatform]:
    """Run a platform for as long as the block lasts."""
    platform = OwnPlatform(state, *options)
    try:
        await platform.start()
        yield platform
    finally:
        await platform.end()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(url) as response:
            return response.status == 200
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu(pid: int) -> tuple[float, float]:
    """Return CPU seconds of a process and of its children that have ended; see proc(5)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    user, system, children_user, children_system = (int(field) for field in fields[11:15])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + system) / ticks, (children_user + children_system) / ticks


def _highest(pid: int) -> int:
    """Return the most KiB that a process has had resident."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM:")).split()[1])
