"""The example server, run as a program: it does what its README says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow  # each test starts an interpreter

SERVER = Path(__file__).parent.parent.parent / "examples" / "hello" / "server.py"


class Hello:
    """A running example and a client for it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")

    async def get(self, path: str) -> dict[str, int]:
        async with self.session.get(path) as response:
            assert response.status == 200
            answer: dict[str, int] = await response.json()
            return answer

    async def until_in_flight(self, number: int) -> None:
        async with asyncio.timeout(5):
            # Another process changes it.
            while (await self.get("/stats"))["in_flight"] != number:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 5)


@pytest.fixture
async def hello() -> AsyncIterator[Hello]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVER),
        env={**os.environ, "PORT": str(port), "K_REVISION": "hello-00007"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == f"listening on port {port}\n".encode()
    running = Hello(process, port)
    yield running
    await running.session.close()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def test_it_counts_what_is_in_flight_and_the_most_it_has_seen(hello: Hello) -> None:
    waiting = [asyncio.create_task(hello.get("/?ms=200")) for _ in range(7)]
    await hello.until_in_flight(7)
    await asyncio.gather(*waiting)
    stats = await hello.get("/stats")
    assert (stats["in_flight"], stats["max_in_flight"], stats["served"]) == (0, 7, 7)


async def test_it_names_its_revision_and_itself(hello: Hello) -> None:
    stats = await hello.get("/")
    assert str(stats["revision"]) == "hello-00007"
    assert str(stats["instance"]).endswith(f"-{hello.process.pid}")


async def test_requests_follow_each_other_on_one_connection(hello: Hello) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hello.port)
    for served in (1, 2):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length))["served"] == served
    writer.close()
    await writer.wait_closed()


async def test_burning_takes_the_cpu_time_asked_for(hello: Hello) -> None:
    def cpu_seconds() -> float:
        fields = Path(f"/proc/{hello.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = await asyncio.to_thread(cpu_seconds)
    await hello.get("/?cpu_ms=300")
    assert await asyncio.to_thread(cpu_seconds) - before >= 0.28


async def test_on_sigterm_it_answers_what_is_under_way_and_exits_with_0(hello: Hello) -> None:
    waiting = asyncio.create_task(hello.get("/?ms=300"))
    await hello.until_in_flight(1)  # leaves an idle connection behind, which must not hold it up
    assert await hello.stop() == 0
    assert (await waiting)["served"] == 1


async def test_an_answer_says_how_long_it_took(hello: Hello) -> None:
    async with hello.session.get("/?ms=30") as response:
        said = response.headers["Server-Timing"]
    assert said.startswith("app;dur=")
    assert float(said.removeprefix("app;dur=")) >= 30
