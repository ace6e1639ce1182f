"""An origin that streams, swallows and switches protocols, and a client that holds connections.

`python -m windlass.bench.holding PORT COUNT SECONDS` holds idle ones.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

from windlass.router.descriptors import raise_limit
from windlass.router.tunnel import websocket_accept

PART = bytes(256 * 1024)
_KEY = re.compile(rb"\r\nSec-WebSocket-Key: ([^\r]+)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
GET = b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: held/1.0\r\nAccept: */*\r\n\r\n"
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve_origin() -> tuple[asyncio.Server, int]:
    """Serve on a loopback port: `/down/N` gives N bytes, bodies are swallowed, tunnels echo."""
    server = await asyncio.start_server(_converse, "127.0.0.1", 0, backlog=4096)
    return server, server.sockets[0].getsockname()[1]


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await _answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = head.split(b" ", 2)[1]
    if key := _KEY.search(head):
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % websocket_accept(key[1])
        )
        while data := await reader.read(4096):
            writer.write(data)
    elif path.startswith(b"/down/"):
        left = int(path[6:])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        while left:
            writer.write(PART[:left])
            left -= min(left, len(PART))
            await writer.drain()
    else:
        left = int(found[1]) if (found := _LENGTH.search(head)) else 0
        while left and (data := await reader.read(min(left, len(PART)))):
            left -= len(data)
        writer.write(SMALL)


class Held(asyncio.Protocol):
    """A client's connection that sends one head and is then held."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._transport: asyncio.Transport | None = None
        self.answered = asyncio.get_running_loop().create_future()
        self.lost = False
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the head."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Take the answer."""
        self.received += data
        if b"\r\n\r\n" in self.received and not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """It is held no more."""
        self.lost = True
        if not self.answered.done():
            self.answered.set_exception(ConnectionError(f"lost before the answer: {error}"))

    def send(self, data: bytes) -> None:
        """Send into a tunnel."""
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        """Let go."""
        if self._transport is not None:
            self._transport.abort()


async def hold(port: int, count: int, head: bytes) -> list[Held]:
    """Open connections from several loopback addresses, each with one answered request.

    Raises:
        ConnectionError: one was lost.
    """
    loop = asyncio.get_running_loop()
    held: list[Held] = []
    for start in range(0, count, 100):
        batch = []
        for number in range(start, min(start + 100, count)):
            source = (f"127.0.0.{2 + number % 20}", 0)
            _, protocol = await loop.create_connection(
                lambda: Held(head), "127.0.0.1", port, local_addr=source
            )
            batch.append(protocol)
        async with asyncio.timeout(30):
            await asyncio.gather(*(protocol.answered for protocol in batch))
        held += batch
    return held


async def _hold_for(port: int, count: int, seconds: float) -> None:
    held = await hold(port, count, GET)
    print("all are held", flush=True)
    await asyncio.sleep(seconds)
    print(f"connected: {sum(not connection.lost for connection in held)}")


if __name__ == "__main__":
    raise_limit()
    uvloop.run(_hold_for(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
