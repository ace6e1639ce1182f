"""Upgrades: WebSockets with a real client and server, and what is no answer to an upgrade."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from windlass.router import link, upstream
from windlass.router.grammar import Malformed
from windlass.router.headers import Peer, read_request, read_response
from windlass.router.pool import SECOND
from windlass.router.tunnel import check_switch, websocket_accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.router.conftest import Rig

MESSAGE = 1024**2
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455's own example
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Echo:
    """A WebSocket server that says again what it hears."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.heard = 0
        self.reads = asyncio.Event()
        self.reads.set()

    async def serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        await self.reads.wait()
        try:
            async for message in connection:
                self.heard += len(message)
                await connection.send(message)
        except ConnectionClosed:
            pass


@pytest.fixture
async def echo(rig: Rig) -> AsyncIterator[Echo]:
    """Put a WebSocket server in the place of the instance there is."""
    echo = Echo()
    async with serve(
        echo.serve, "127.0.0.1", 0, max_size=2 * MESSAGE, ping_interval=None, compression=None
    ) as server:
        rig.node.say(link.InstanceGone("hello-00001-a"))
        await rig.settled(0)
        rig.ready("hello-00001-ws", next(iter(server.sockets)).getsockname()[1])
        await rig.settled()
        yield echo
        await rig.free()


def client(rig: Rig) -> connect:
    return connect(
        f"ws://hello.localhost:{rig.port}/chat",
        host="127.0.0.1",
        max_size=2 * MESSAGE,
        ping_interval=None,
        compression=None,
        proxy=None,
    )


async def test_messages_of_every_size_come_back(rig: Rig, echo: Echo) -> None:
    async with client(rig) as socket:
        for size in (0, 1, 125, 126, 65536, MESSAGE):
            message = os.urandom(size)
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("größe")
        assert await socket.recv() == "größe"
        assert rig.in_flight() == 1
        await (await socket.ping())
        await socket.close(4000, "enough")
    assert (echo.connections[0].close_code, echo.connections[0].close_reason) == (4000, "enough")


async def test_the_close_of_the_server_reaches_the_client(rig: Rig, echo: Echo) -> None:
    async with client(rig) as socket:
        await socket.send("a")
        await socket.recv()
        await echo.connections[0].close(1001, "going")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1001, "going")


async def test_a_client_that_vanishes_frees_its_slot(rig: Rig, echo: Echo) -> None:
    socket = await client(rig)
    await socket.send("a")
    await socket.recv()
    socket.transport.abort()
    await rig.free()
    await echo.connections[0].wait_closed()
    assert echo.connections[0].close_code == 1006


async def test_a_server_that_vanishes_ends_the_client(rig: Rig, echo: Echo) -> None:
    async with client(rig) as socket:
        await socket.send("a")
        await socket.recv()
        echo.connections[0].transport.abort()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1006


async def test_a_server_that_does_not_read_holds_back_the_client(
    rig: Rig, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "LINGER_TIME", 0.05)
    echo.reads.clear()
    socket = await client(rig)
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while True:
            await socket.send(bytes(MESSAGE))
            sent += MESSAGE

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pour(), 0.5)
    assert sent < 64 * MESSAGE
    socket.transport.abort()
    echo.reads.set()


async def test_a_tunnel_through_which_nothing_passes_ends(rig: Rig, echo: Echo) -> None:
    rig.worker.dispatch.tunnel_idle = SECOND // 10
    async with client(rig) as socket:
        for _ in range(4):  # longer than the idle time, but never idle
            await socket.send("a")
            await socket.recv()
            await asyncio.sleep(0.05)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    await rig.free()


async def test_the_requests_timeout_ends_a_tunnel_in_use(rig: Rig, echo: Echo) -> None:
    pool = rig.worker.dispatch.pools["hello-00001"]
    rig.route(timeout=0.3)
    await rig.until(lambda: pool.timeout < SECOND)

    async def talk(socket: ClientConnection) -> None:
        while True:
            await socket.send("a")
            await socket.recv()

    async with client(rig) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(talk(socket), 5)


async def test_a_drain_leaves_a_tunnel_until_its_grace_is_over(rig: Rig, echo: Echo) -> None:
    async with client(rig) as socket:
        await socket.send("a")
        await socket.recv()
        rig.node.say(link.Drain(0.3))
        await rig.until(lambda: rig.worker.dispatch.draining)
        await socket.send("still there")
        assert await socket.recv() == "still there"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 5)
    await asyncio.wait_for(rig.running, 5)


async def test_an_accept_that_does_not_fit_is_a_bad_answer(rig: Rig) -> None:
    rig.origin.answers(
        "/chat",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % ACCEPT,
        keep=False,
    )
    with pytest.raises(InvalidStatus) as caught:
        await client(rig)
    assert caught.value.response.status_code == 502


@pytest.mark.parametrize(
    ("asked", "answered", "fits"),
    [
        (b"Upgrade: websocket\r\n", b"Upgrade: WebSocket\r\nSec-WebSocket-Accept: %b\r\n", True),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\n", False),
        (b"Upgrade: websocket\r\n", b"Upgrade: other\r\nSec-WebSocket-Accept: %b\r\n", False),
        (b"Upgrade: other\r\n", b"Upgrade: other\r\n", True),
        (b"", b"Upgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n", False),
    ],
)
def test_a_switch_is_the_answer_to_what_was_asked(
    asked: bytes, answered: bytes, fits: bool
) -> None:
    connection = b"Connection: Upgrade\r\n"
    head = b"Host: a\r\nsec-websocket-key: %b\r\n" % KEY
    request = read_request(head + connection + asked, 1, b"", Peer(b"1.1.1.1", b"http", b"a:1"))
    response = read_response(connection + answered.replace(b"%b", ACCEPT), 1, 101, b"")
    if fits:
        check_switch(request, response)
    else:
        with pytest.raises(Malformed):
            check_switch(request, response)
    assert websocket_accept(KEY) == ACCEPT
