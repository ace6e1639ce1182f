"""A crowd of clients that send one request each in the same moment, on connections made before: so
that a burst is as steep as the program that sends it can make it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from windlass.bench.connection import Connection

_AT_A_TIME = 100  # connections opened at once, fewer than a listener's backlog


@dataclass(slots=True)
class Outcome:
    """How the requests ended; nanoseconds."""

    latencies: list[int] = field(default_factory=list)  # of those answered without error, sorted
    errors: Counter[str] = field(default_factory=Counter)  # by reason
    sending: int = 0  # from the first request's sending to the last one's

    def percentile(self, percent: float) -> int:
        """Return the latency that so many percent of the answers did not exceed; 0: none came."""
        if not self.latencies:
            return 0
        rank = max(0, -(-len(self.latencies) * percent // 100) - 1)
        return self.latencies[int(rank)]


class Crowd:
    """Connections to one address; each carries one request."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._waiting: set[Connection] = set()
        self._over = asyncio.Event()
        self._outcome = Outcome()

    async def connect(self, host: str, port: int, count: int) -> None:
        """Open `count` connections.

        Raises:
            OSError: one is refused.
        """
        loop = asyncio.get_running_loop()
        while (missing := count - len(self._connections)) > 0:
            opened = (
                loop.create_connection(lambda: Connection(self), host, port)
                for _ in range(min(missing, _AT_A_TIME))
            )
            self._connections += [connection for _, connection in await asyncio.gather(*opened)]

    async def send(self, request: bytes, patience: float) -> Outcome:
        """Send the request on every connection; wait `patience` seconds at most for the answers."""
        self._waiting = set(self._connections)
        for connection in self._connections:
            connection.sent = time.monotonic_ns()
            connection.send(request)
        self._outcome.sending = self._connections[-1].sent - self._connections[0].sent
        try:
            async with asyncio.timeout(patience):
                await self._over.wait()
        except TimeoutError:
            self._outcome.errors[f"no whole answer in {patience:g} s"] += len(self._waiting)
        for connection in self._connections:
            connection.abort()
        self._outcome.latencies.sort()
        return self._outcome

    # Owner of the connections

    def answered(self, connection: Connection, status: int, reusable: bool) -> None:
        """Count the answer."""
        if status >= 400:
            self._outcome.errors[f"status {status}"] += 1
        else:
            self._outcome.latencies.append(time.monotonic_ns() - connection.sent)
        self._ended(connection)

    def failed(self, connection: Connection, reason: str) -> None:
        """Count the error."""
        self._outcome.errors[reason] += 1
        self._ended(connection)

    def closed(self, connection: Connection) -> None:
        """Fail the request of a connection that was closed before it; others are over."""
        if connection in self._waiting:
            self.failed(connection, "connection closed before the request")

    def _ended(self, connection: Connection) -> None:
        self._waiting.discard(connection)
        if not self._waiting:
            self._over.set()


async def at_once(host: str, port: int, request: bytes, count: int, patience: float) -> Outcome:
    """Open `count` connections, then send the request on all of them."""
    crowd = Crowd()
    await crowd.connect(host, port, count)
    return await crowd.send(request, patience)
