"""A worker as a process: its start, its end, and what it prints."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
import structlog
from tests.router.conftest import Client, Node

from windlass.router import link
from windlass.router.server import Worker, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture(autouse=True)
def _usual_logs() -> Iterator[None]:
    yield
    structlog.reset_defaults()  # main() logs to what was stderr during its test


def test_an_address_in_use_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = str(tmp_path / "link")
        assert main(["--link", path, "--http", address, "--worker", "w"]) == 3
    printed = capsys.readouterr().err
    assert printed == (
        f"windlass: cannot listen on {address}: the address is in use; "
        "choose another one with --http HOST:PORT\n"
    )


def test_an_address_without_a_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--link", "x", "--http", "localhost", "--worker", "w"])
    assert "--http localhost: want HOST:PORT" in capsys.readouterr().err


@pytest.mark.slow
async def test_sigterm_ends_a_worker_with_status_0(tmp_path: Path) -> None:
    arguments = ["--link", str(tmp_path / "link"), "--http", "127.0.0.1:0", "--worker", "w"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "windlass.router", *arguments, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(10):
        while b"listening" not in await process.stderr.readline():
            pass
        await asyncio.sleep(0.1)  # until the signal handlers are there
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_draining_finishes_what_is_under_way_and_says_close(rig: Rig) -> None:
    release = asyncio.Event()

    async def slow(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await release.wait()
        writer.write(OK)
        return True

    rig.origin.handlers[b"/"] = slow
    busy = await rig.client()
    busy.get("/")
    await rig.until(lambda: rig.in_flight() == 1)
    rig.worker.drain(10.0)
    await rig.until(lambda: rig.worker.dispatch.draining)
    with pytest.raises(ConnectionError):
        await rig.client()
    release.set()
    assert b"Connection: close\r\n" in await busy.head()
    assert await busy.rest() == b"hello"
    await rig.running


async def test_a_connection_used_just_now_may_send_one_more_request_while_draining(
    rig: Rig,
) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/")
    await client.response()
    rig.worker.drain(10.0)
    await rig.until(lambda: rig.worker.dispatch.draining)
    client.get("/")
    assert b"Connection: close\r\n" in await client.head()
    assert await client.rest() == b"hello"
    await rig.running


def patient(rig: Rig) -> None:
    """Let the worker end as at a reload."""
    rig.node.say(link.Drain(3600.0, patient=True))


async def draining(rig: Rig) -> None:
    await rig.until(lambda: rig.worker.dispatch.draining)


async def test_an_idle_connection_has_one_request_more_while_draining_patiently(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.worker, "_settling", 0.0)
    rig.origin.answers("/", OK)
    used, fresh = await rig.client(), await rig.client()
    used.get("/")
    await used.response()
    await rig.until(lambda: len(rig.worker.dispatch.clients) == 2)
    patient(rig)
    await draining(rig)
    await asyncio.sleep(1.3)  # longer than one has that is likely to be used
    for client in (used, fresh):
        client.get("/")
        assert b"Connection: close\r\n" in await client.head()
        assert await client.rest() == b"hello"
    await asyncio.wait_for(rig.running, 5)


async def test_an_idle_connection_ends_as_ever_while_draining_patiently(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.worker, "_settling", 0.0)
    client = await rig.client()
    await rig.until(lambda: len(rig.worker.dispatch.clients) == 1)
    [connection] = rig.worker.dispatch.clients
    ends = connection.deadline
    patient(rig)
    await draining(rig)
    assert connection.deadline == ends
    connection.deadline = 1  # as if the time had passed
    assert await client.rest() == b""
    await asyncio.wait_for(rig.running, 5)


async def test_a_client_that_was_told_that_its_connection_is_kept_may_use_it_once_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head of the answer is out when the worker begins to drain."""
    monkeypatch.setattr(rig.worker, "_settling", 0.0)
    release = asyncio.Event()

    async def by_parts(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(OK[:-3])
        await release.wait()
        writer.write(OK[-3:])
        return True

    rig.origin.handlers[b"/parts"] = by_parts
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/parts")
    head = await client.head()
    patient(rig)
    await draining(rig)
    release.set()
    assert await client.exactly(5) == b"hello"
    assert b"close" not in head
    client.get("/")
    assert b"Connection: close\r\n" in await client.head()
    assert await client.rest() == b"hello"
    await asyncio.wait_for(rig.running, 5)


async def test_what_lasts_longer_than_the_grace_is_ended(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    client = await rig.client()
    client.get("/")
    await client.head()
    rig.worker.drain(0.01)
    await rig.running
    await rig.free()


@pytest.mark.slow
async def test_a_worker_whose_node_stays_away_ends(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windlass.router.server.NODE_AWAY_LIMIT", 0.0)
    monkeypatch.setattr(rig.worker.link, "_path", "/nowhere")
    rig.node.hang_up()
    await rig.running


async def test_a_worker_that_inherits_its_sockets_accepts_when_it_knows_the_routes(
    tmp_path: Path,
) -> None:
    node = Node()
    path = str(tmp_path / "link")
    link_server = await asyncio.start_unix_server(node.serve, path)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    worker = Worker(path, "worker-0")
    worker.inherit([listener], None)
    running = asyncio.create_task(worker.run())
    await node.hears(link.Hello)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    client.get("/", host="hello.localhost")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.2)
    split = link.Split(revision="hello-00001", percent=100)
    service = link.ServiceRoute(name="hello", splits=(split,))
    revision = link.RevisionRoute(name="hello-00001", service="hello")
    node.say(link.Routes(services=(service,), revisions=(revision,)))
    assert (await node.hears(link.Starved)).queued == 1, "it waits for an instance"
    client.close()
    worker.drain(1.0)
    await running
    link_server.close()
