"""A platform for the time of one command, where none runs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass.deploy.api.client import Client, Unreachable
from windlass.deploy.cli.faults import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_WITHIN = 60.0  # seconds
STOPPED_WITHIN = 60.0
LOOK_INTERVAL = 0.1
LOG_LINES = 10  # shown when it does not come up


@contextmanager
def platform_at(server: str, *, start: bool, runtime: str) -> Iterator[str]:
    """Give the address of a platform: the one at `server`, or one of our own while this lasts.

    `start`: whether one may be started where none answers.

    Raises:
        OperationFailed: it does not come up; its last log lines are said.
    """
    if not start or asyncio.run(_answers(server)):
        yield server
        return
    click.echo(f"No platform answers at {server}; starting one for this run.", err=True)
    with tempfile.TemporaryDirectory(prefix="windlass-") as state:
        log = Path(state, "up.log")
        http, admin = _free_ports(2)
        words = [sys.executable, "-m", "windlass.deploy.cli", "up", "--runtime", runtime]
        words += ["--http", f"127.0.0.1:{http}", "--admin", f"127.0.0.1:{admin}"]
        with log.open("wb") as sink:
            # A session of its own: Ctrl-C is for this command, which then stops the platform.
            process = subprocess.Popen(
                [*words, "--state", f"{state}/state"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        try:
            address = f"http://127.0.0.1:{admin}"
            _await_ready(process, address, log)
            yield address
        finally:
            _stop(process)


async def _answers(server: str) -> bool:
    async with Client(server) as client:
        try:
            await client.status()
        except Unreachable:
            return False
        return True


def _await_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not asyncio.run(_answers(address)):
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise OperationFailed("\n  ".join(["The platform did not come up:", *last]))
        time.sleep(LOOK_INTERVAL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports
