"""Starts the servers of a measurement, says when they answer, and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.bench.grpc_calls import answers
from windlass.bench.proxies import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from windlass.bench.proxies import Proxy

_START_LIMIT = 15.0  # seconds until a server must answer
_STOP_LIMIT = 5.0  # seconds from SIGTERM to SIGKILL


class CannotStart(Exception):
    """A server did not come up; says why."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    pid: int


@asynccontextmanager
async def running(
    proxy: Proxy, parent: Path, backend: int, *, grpc: bool = False
) -> AsyncIterator[Server]:
    """Run a server in a directory of its own while the context lasts; `grpc`: that speaks it.

    Raises:
        CannotStart: it is not installed, it ended, or it does not answer.
    """
    binary = proxy.path()
    if binary is None:
        raise CannotStart(f"{proxy.binary} is not installed")
    directory = parent / proxy.name
    directory.mkdir(exist_ok=True)
    port = _free_port()
    write_command = proxy.grpc_command if grpc else proxy.command
    if write_command is None:
        raise CannotStart("it is not measured with gRPC")
    command = write_command(binary, Place(directory, port, backend))
    with (directory / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": str(directory), **(proxy.environment or {})},
            start_new_session=True,
        )
    try:
        await _answers(process, port, directory, grpc=grpc)
        yield Server(port, process.pid)
    finally:
        await _stop(process)


async def _answers(
    process: asyncio.subprocess.Process, port: int, directory: Path, *, grpc: bool
) -> None:
    output = directory / "output"
    for _ in range(int(_START_LIMIT / 0.05)):
        if await (answers(port, directory) if grpc else _is_ok(port)):
            return
        if process.returncode is not None:
            raise CannotStart(f"ended with status {process.returncode}: {_end_of(output)}")
        await asyncio.sleep(0.05)
    raise CannotStart(f"no answer in {_START_LIMIT:g} s: {_end_of(output)}")


def _end_of(output: Path) -> str:
    return output.read_text(errors="replace").strip()[-500:]


async def _is_ok(port: int) -> bool:
    """Ask for / and tell whether the answer is 200."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).split()[1] == b"200"
            finally:
                writer.close()
    except (OSError, IndexError):
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_LIMIT):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
