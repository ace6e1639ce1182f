"""A platform of the test's own, started and called as a user does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

READY_WITHIN = 30.0  # seconds
STOPPED_WITHIN = 40.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Platform:
    """A running `windlass up` and the client's view of it."""

    process: subprocess.Popen[bytes]
    http: int
    admin: int
    state: Path
    session: aiohttp.ClientSession
    options: tuple[str, ...] = ()

    async def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a client command."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "windlass.deploy.cli", *words],
            env={**os.environ, "WINDLASS_SERVER": f"http://127.0.0.1:{self.admin}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    async def succeed(self, *words: str) -> str:
        """Run a client command that must work; return its stdout."""
        done = await self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    async def json(self, *words: str) -> Any:
        """Run a client command with --json; return what it says."""
        return json.loads(await self.succeed(*words, "--json"))

    async def lines(self, service: str) -> list[Any]:
        """Return what a service's instances wrote."""
        said = await self.succeed("logs", service, "--json", "--tail", "10000")
        return [json.loads(line) for line in said.splitlines()]

    async def get(self, service: str, path: str = "/") -> tuple[int, str]:
        """Request a service; return status and body."""
        url = f"http://127.0.0.1:{self.http}{path}"
        async with self.session.get(url, headers={"Host": f"{service}.localhost"}) as response:
            return response.status, await response.text()

    async def once(self, service: str, path: str = "/") -> int:
        """Send a request on a connection of its own and never again; return the status, 0: lost.

        aiohttp sends a GET a second time where a connection breaks.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {service}.localhost\r\n\r\n".encode())
            line = await reader.readline()
        except ConnectionError:
            return 0
        finally:
            writer.close()
        return int(line.split()[1]) if line else 0

    async def alive(self, service: str) -> list[dict[str, Any]]:
        """Return the service's living instances."""
        url = f"http://127.0.0.1:{self.admin}/api/v1/services/{service}/instances"
        async with self.session.get(url) as response:
            instances: list[dict[str, Any]] = await response.json()
        return [i for i in instances if i["state"] not in ("stopped", "failed")]

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait for something to become true, for at most so many seconds."""
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110  (another process changes it)
                await asyncio.sleep(0.1)

    async def until_zero(self, service: str, seconds: float = 60.0) -> None:
        """Wait until no instance of the service lives."""

        async def is_zero() -> bool:
            return not await self.alive(service)

        await self.until(is_zero, seconds)

    def kill_node(self) -> None:
        """End the node without a warning; its workers and instances go on."""
        self.process.kill()
        self.process.wait()

    async def up_again(self) -> None:
        """Start the platform with the same state and ports; return when it answers."""
        self.process = start(self.state, self.http, self.admin, *self.options)
        await until_ready(self)

    def worker(self, number: int = 1) -> int:
        """Return a router worker's process id, 0: there is none at the moment."""
        return next((int(f.read_text()) for f in self.state.glob(f"worker-{number}.*.pid")), 0)

    def log(self) -> str:
        """Return what the platform logged."""
        return Path(self.state, "up.log").read_text()


def start(state: Path, http: int, admin: int, *more: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "windlass.deploy.cli", "up", "--state", str(state)]
    words += ["--http", f"127.0.0.1:{http}", "--admin", f"127.0.0.1:{admin}", *more]
    with Path(state, "up.log").open("ab") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


async def start_platform(state: Path, *more: str) -> Platform:
    """Start a platform on free ports and return when it answers; `stop` it."""
    http, admin = free_port(), free_port()
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    platform = Platform(start(state, http, admin, *more), http, admin, state, session, more)
    await until_ready(platform)
    return platform


async def until_ready(platform: Platform) -> None:
    async def is_ready() -> bool:
        assert platform.process.poll() is None, platform.log()
        try:
            async with platform.session.get(f"http://127.0.0.1:{platform.admin}/healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await platform.until(is_ready, READY_WITHIN)


async def stop(platform: Platform) -> None:
    if platform.process.poll() == -signal.SIGKILL:  # the test broke off: leave nothing running
        await platform.up_again()
    await platform.session.close()
    if platform.process.poll() is None:
        platform.process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(platform.process.wait, STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        platform.process.kill()
        platform.process.wait()
        pytest.fail(f"the platform did not stop within {STOPPED_WITHIN} s:\n{platform.log()}")
