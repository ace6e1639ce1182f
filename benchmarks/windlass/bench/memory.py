"""A worker's connections on transports in memory: no socket, no loop, nothing that waits."""

from __future__ import annotations

import asyncio
import os
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

from windlass.router import link
from windlass.router.dispatch import Dispatch
from windlass.router.endpoint import CONNECT_PAUSES, Endpoint
from windlass.router.endpoint_http2 import Http2Endpoint
from windlass.router.http1 import ClientConnection
from windlass.router.upstream import UpstreamConnection
from windlass.router.upstream_http2 import UpstreamSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.router.exchange import Exchange
    from windlass.router.pool import Pool


class Transport:
    """Remembers what is written, and what the other side is to hear of."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol: asyncio.Protocol | asyncio.BufferedProtocol = protocol
        self.written = bytearray()
        self.ended = self.half_closed = self.paused = False
        protocol.connection_made(cast("asyncio.BaseTransport", self))

    def write(self, data: bytes) -> None:
        """Take what is written; uvloop drops what comes after the end."""
        if not self.ended:
            assert not self.half_closed, "written after write_eof"
            self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        """Take what is written."""
        self.write(b"".join(parts))

    def close(self) -> None:
        """End."""
        self.ended = True

    abort = close

    def write_eof(self) -> None:
        """End one direction."""
        self.half_closed = True

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def is_closing(self) -> bool:
        """Tell whether it has ended."""
        return self.ended

    def set_protocol(self, protocol: asyncio.Protocol | asyncio.BufferedProtocol) -> None:
        """Change to another protocol."""
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Bring nothing until resumed."""
        self.paused = True

    def resume_reading(self) -> None:
        """Bring more."""
        self.paused = False

    def get_write_buffer_size(self) -> int:
        """All is taken at once."""
        return 0

    def is_reading(self) -> bool:
        """Tell whether what is brought is taken."""
        return not (self.ended or self.paused)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Name both ends, and a socket from which nothing can be spliced."""
        if name == "socket":
            return _NOWHERE
        return ("127.0.0.1", 80) if name in ("peername", "sockname") else default

    def bring(self, data: bytes) -> None:
        """Let the protocol have what the other side sent, unless it does not read."""
        while data and self.is_reading():
            if not isinstance(self.protocol, asyncio.BufferedProtocol):
                self.protocol.data_received(data)
                return
            view = memoryview(self.protocol.get_buffer(len(data)))
            size = min(len(view), len(data))
            view[:size] = data[:size]
            data = data[size:]
            self.protocol.buffer_updated(size)


class _Nowhere:
    """What has a file's number and takes options, as a socket does."""

    def __init__(self) -> None:
        self._file = os.open(os.devnull, os.O_RDONLY)

    def fileno(self) -> int:
        """Return the number."""
        return self._file

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """Take an option; it changes nothing."""


_NOWHERE = _Nowhere()


class SilentVoice:
    """Tells nobody."""

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Requests wait."""

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Slots were given up."""

    def aside(self, instance: str, *, aside: bool) -> None:
        """It fails, or no more."""

    def drained(self, instance: str) -> None:
        """Nothing is in flight."""

    def rested(self, instance: str, number: int, *, at_rest: bool) -> None:
        """It may be frozen, or not."""

    def woken(self, instance: str) -> None:
        """It was thawed."""

    def unreachable(self, instance: str, failures: int, reason: str) -> None:
        """Connecting failed."""


class Connects:
    """The connections to an instance: made, or not, when it is told to."""

    def __init__(self, make: Callable[[list[Exchange]], list[Transport]]) -> None:
        self._make = make
        self.transports: list[Transport] = []
        self.waiting: list[Exchange] = []

    def cancel(self, exchange: Exchange) -> bool:
        """Note that a connection is not wanted any more."""
        if exchange not in self.waiting:
            return False
        self.waiting.remove(exchange)
        return True

    def answer(self, *, succeed: bool) -> None:
        """Let the connections that are wanted now come about, or fail."""
        waiting, self.waiting = self.waiting, []
        if succeed and waiting:
            self.transports += self._make(waiting)
        elif not succeed:
            for exchange in waiting:
                exchange.unreachable("refused", len(CONNECT_PAUSES), monotonic_ns())


class _Commanded:
    """An endpoint whose connections wait for a command."""

    __slots__ = ()
    connects: Connects

    def connect(self, exchange: Exchange) -> None:
        """Note that a connection, or a stream, is wanted."""
        self.connects.waiting.append(exchange)

    def cancel(self, exchange: Exchange) -> bool:
        """It is not wanted any more."""
        return self.connects.cancel(exchange)


class MemoryEndpoint(_Commanded, Endpoint):
    """An instance that speaks HTTP/1.1."""

    __slots__ = ("connects",)

    def __init__(self, route: link.InstanceRoute) -> None:
        super().__init__(route)
        self.connects = Connects(self._make)

    def _make(self, waiting: list[Exchange]) -> list[Transport]:
        made = []
        for exchange in waiting:
            upstream = UpstreamConnection(self)
            made.append(Transport(upstream))
            exchange.upstream = upstream
            exchange.on_connected(upstream)
        return made


class MemoryHttp2Endpoint(_Commanded, Http2Endpoint):
    """An instance that speaks HTTP/2; what it sends begins with its settings."""

    __slots__ = ("connects",)

    def __init__(self, route: link.InstanceRoute) -> None:
        super().__init__(route)
        self.connects = Connects(self._make)

    def _make(self, waiting: list[Exchange]) -> list[Transport]:
        session = UpstreamSession(self, asyncio.get_running_loop().create_future())
        transport = Transport(session)
        session.on_settings()
        self.sessions.append(session)
        for exchange in waiting:
            self.lend(exchange, monotonic_ns())
        return [transport]


class Wire:
    """A service with one instance, and clients one after another."""

    def __init__(self, concurrency: int = 1, *, h2c: bool = False) -> None:
        self.dispatch = Dispatch(SilentVoice())
        service = link.ServiceRoute(name="a", splits=(link.Split(revision="r", percent=100),))
        revision = link.RevisionRoute(
            name="r", service="a", concurrency=concurrency, protocol="h2c" if h2c else "http1"
        )
        routes = link.Routes(services=(service,), revisions=(revision,), default_service="a")
        self.dispatch.apply_routes(routes, 0)
        route = link.InstanceRoute(id="i", revision="r", host="127.0.0.1", port=1)
        self.endpoint: Endpoint
        if h2c:
            self.endpoint = http2 = MemoryHttp2Endpoint(route)
            self.connects, self.sessions = http2.connects, http2.sessions
        else:
            self.endpoint = http1 = MemoryEndpoint(route)
            self.connects, self.sessions = http1.connects, []
        self.pool = self.dispatch.pools["r"]
        self.pool.add(self.endpoint, 0)
        self.pool.lease(self.endpoint, concurrency, 0)

    def client(self) -> Transport:
        """Return a new client's connection."""
        return Transport(ClientConnection(self.dispatch))

    def leaks(self) -> list[str]:
        """Return what is still held although no connection is left."""
        held = {
            "in flight": self.pool.counts.in_flight,
            "in flight on the instance": self.endpoint.in_flight,
            "queued": self.pool.counts.queued + len(self.pool.queue),
            "retries": self.pool.budget.used,
            "clients": len(self.dispatch.clients),
            "connections": len(self.endpoint.connections),
            "idle connections": len(self.endpoint.idle),
            "connections of HTTP/2": len(self.sessions),
            "connections being made": len(self.connects.waiting),
        }
        return [f"{count} {what}" for what, count in held.items() if count]
