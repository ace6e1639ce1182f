"""Sends one request over and over on kept-alive connections, as many as it takes up to a bound."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.bench.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.bench.tally import Tally

_SWEEP_INTERVAL = 0.05  # seconds between looks for requests that are over their time


@dataclass(frozen=True, slots=True)
class Address:
    """Where connections go; the server's name for TLS, None for plain TCP."""

    host: str
    port: int
    tls_name: str | None = None


async def resolve(host: str, port: int, tls_name: str | None) -> Address:
    """Look the host up once, so that no request waits for it.

    Raises:
        OSError: there is no such host.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, proto=6)  # TCP
    return Address(str(found[0][4][0]), port, tls_name)


class Requests:
    """Requests under way and the connections that carry them. `on_end(failed)` follows each."""

    def __init__(
        self,
        address: Address,
        request: bytes,
        *,
        timeout: float,
        max_connections: int,
        tally: Tally,
        on_end: Callable[[bool], None],
    ) -> None:
        self._address, self._request, self._limit = address, request, max_connections
        self._timeout = timeout
        self._tally, self._on_end = tally, on_end
        self._tls = ssl.create_default_context() if address.tls_name else None
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Connection, None] = {}  # the last one in is the first one out
        self._open: dict[Connection, asyncio.Task[None] | None] = {}  # a task while it connects
        self._deadlines: deque[tuple[int, int, Connection]] = deque()  # in order of moments
        self._begun = 0
        self._sweeper = self._loop.call_later(_SWEEP_INTERVAL, self._sweep)

    def begin(self, intended: int) -> None:
        """Send a request that was to be sent at this CLOCK_MONOTONIC nanosecond."""
        self._begun += 1
        self._tally.began()
        now = time.monotonic_ns()
        if self._idle:
            connection, _ = self._idle.popitem()
            self._take(connection, intended, now)
            self._send(connection)
        elif len(self._open) < self._limit:
            connection = Connection(self)
            self._take(connection, intended, now)
            self._open[connection] = self._loop.create_task(self._connect(connection))
        else:
            self._tally.failed(f"all {self._limit} connections in use", now)
            self._on_end(True)

    def close(self) -> None:
        """Drop every connection, and whatever is under way with it."""
        self._sweeper.cancel()
        for connection in list(self._open):
            self._drop(connection)

    def _take(self, connection: Connection, intended: int, now: int) -> None:
        connection.intended = intended
        connection.number = self._begun
        self._deadlines.append((now + round(self._timeout * 1e9), self._begun, connection))

    async def _connect(self, connection: Connection) -> None:
        address = self._address
        try:
            await self._loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=self._tls,
                server_hostname=address.tls_name,
            )
        except OSError as error:
            self.failed(connection, f"connect: {error.strerror or error}")
            return
        self._open[connection] = None
        self._tally.result.connections += 1
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        connection.sent = time.monotonic_ns()
        self._tally.sent(connection.intended, connection.sent)
        connection.send(self._request)

    # Owner of the connections

    def answered(self, connection: Connection, status: int, reusable: bool) -> None:
        """Count the answer, and keep the connection if it takes another request."""
        connection.number = 0
        now = time.monotonic_ns()
        self._tally.answered(status, connection.intended, connection.sent, now)
        if connection.worked is not None:
            self._tally.result.work.record(connection.worked)
        if reusable:
            self._idle[connection] = None
        else:
            self._drop(connection)
        self._on_end(status >= 400)

    def failed(self, connection: Connection, reason: str) -> None:
        """Count the error."""
        self._drop(connection)
        self._tally.failed(reason, time.monotonic_ns())
        self._on_end(True)

    def closed(self, connection: Connection) -> None:
        """Forget a connection that was idle; one that was just made fails its request."""
        if connection.number:
            self.failed(connection, "connection closed before the request")
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.number = 0
        connection.abort()
        self._idle.pop(connection, None)
        task = self._open.pop(connection, None)
        if task is not None:
            task.cancel()

    def _sweep(self) -> None:
        now = time.monotonic_ns()
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][1] != deadlines[0][2].number):
            _, number, connection = deadlines.popleft()
            if connection.number == number:
                self._drop(connection)
                reason = f"no whole answer in {self._timeout:g} s"
                self._tally.timed_out(reason, connection.intended, now)
                self._on_end(True)
        self._sweeper = self._loop.call_later(_SWEEP_INTERVAL, self._sweep)
