"""A closed loop of WebSocket messages: each tunnel sends its next one when the last came back."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from windlass.bench.histogram import Histogram
from windlass.bench.wrk import Measured

HEAD = (
    b"GET /chat HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PAYLOAD = bytes(25)
MESSAGE = b"\x82" + bytes([0x80 | len(_PAYLOAD)]) + bytes(4) + _PAYLOAD  # masked with zeros
_OPEN_LIMIT = 10.0  # seconds until all tunnels are open


class _Tunnel(asyncio.Protocol):
    def __init__(self, latency: Histogram) -> None:
        self._latency = latency
        self._head = b""
        self._missing = 0  # bytes of the answer that are to come
        self._sent_at = 0
        self._transport: asyncio.Transport | None = None
        self.opened = asyncio.get_running_loop().create_future()
        self.stopped = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HEAD)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._head += data
            if b"\r\n\r\n" in self._head:
                if self._head.startswith(b"HTTP/1.1 101 "):
                    self.opened.set_result(None)
                else:
                    answer = self._head.partition(b"\r\n")[0].decode()
                    self.opened.set_exception(ConnectionError(f"no tunnel: {answer}"))
            return
        self._missing -= len(data)
        if not self._missing:
            self._latency.record(time.monotonic_ns() - self._sent_at)
            self.send()

    def send(self) -> None:
        if not self.stopped and self._transport is not None:
            self._missing, self._sent_at = len(MESSAGE), time.monotonic_ns()
            self._transport.write(MESSAGE)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = not self.stopped
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("lost before it was a tunnel"))

    def end(self) -> None:
        self.stopped = True
        if self._transport is not None:
            self._transport.abort()


async def exchange_messages(port: int, *, connections: int, seconds: float) -> Measured:
    """Load what listens on the port; a request of the result is a message and its echo.

    Raises:
        ConnectionError: a tunnel could not be opened.
    """
    latency = Histogram()
    tunnels: list[_Tunnel] = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(connections):
            _, tunnel = await loop.create_connection(lambda: _Tunnel(latency), "127.0.0.1", port)
            tunnels.append(tunnel)
        async with asyncio.timeout(_OPEN_LIMIT):
            await asyncio.gather(*(tunnel.opened for tunnel in tunnels))
        begin = time.monotonic()
        for tunnel in tunnels:
            tunnel.send()
        await asyncio.sleep(seconds)
        took = time.monotonic() - begin
    finally:
        lost = sum(tunnel.lost for tunnel in tunnels)
        for tunnel in tunnels:
            tunnel.end()
    p50, p99, p999 = (latency.percentile(percent) / 1e6 for percent in (50, 99, 99.9))
    return Measured(latency.count, took, p50, p99, p999, lost)
