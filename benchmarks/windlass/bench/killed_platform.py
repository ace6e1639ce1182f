"""A platform of its own, started as a user does and killed without a warning."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp

from windlass.bench.kill_record import Counted

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "killed"
READY_WITHIN = 60.0  # seconds


class KilledPlatform:
    """One service with one instance, on ports of its own."""

    def __init__(self, state: Path, runtime: str) -> None:
        self._state, self._runtime = state, runtime
        self._http, self._admin = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._http}"
        self.host = f"{SERVICE}.localhost"

    async def start(self) -> None:
        """Start it, and wait until the service answers."""
        self._process = self._up()
        await _until_answered(f"http://127.0.0.1:{self._admin}/healthz")

    def _up(self) -> subprocess.Popen[bytes]:
        words = ["up", "--runtime", self._runtime, "--state", str(self._state)]
        words += ["--http", f"127.0.0.1:{self._http}", "--admin", f"127.0.0.1:{self._admin}"]
        with (self._state / "up.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "windlass.deploy.cli", *words], stdout=log, stderr=log
            )

    async def deploy(self, image: str, server: str) -> None:
        """Deploy the service that is loaded."""
        what = ["--image", image] if image else ["--exec", f"{sys.executable} {server}"]
        words = ["deploy", SERVICE, *what, "--min-instances", "1", "--max-instances", "1"]
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "windlass.deploy.cli", *words],
            env={**os.environ, "WINDLASS_SERVER": f"http://127.0.0.1:{self._admin}"},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def counted(self) -> Counted:
        """Return what the ledger has."""
        url = f"http://127.0.0.1:{self._admin}/api/v1/bill?service={SERVICE}&book=cloudrun"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            usage = (await response.json())["usage"]
        return Counted(requests=usage["requests"], busy=float(usage["busy_seconds"]))

    def kill(self) -> int:
        """Kill node and workers; return the moment, in CLOCK_MONOTONIC nanoseconds."""
        assert self._process is not None
        workers = [int(file.read_text()) for file in self._state.glob("worker-*.pid")]
        moment = time.monotonic_ns()
        for pid in (self._process.pid, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        return moment

    async def end(self) -> None:
        """Stop it as a user does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait)


async def _until_answered(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_WITHIN):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
