"""An instance with its HTTP/1.1 connections: how they are made, lent and given up.

Routing and slots are not known here.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from windlass.router.levels import Instance
from windlass.router.pool import SECOND
from windlass.router.standing import Standing
from windlass.router.upstream import UpstreamConnection

if TYPE_CHECKING:
    from windlass.router.exchange import Exchange
    from windlass.router.headers import ResponseHead
    from windlass.router.link import InstanceRoute

# Seconds for one attempt. A full listen queue drops a SYN, which is sent again after one second.
CONNECT_TIMEOUT = 3.0
CONNECT_PAUSES = (0.0, 0.01, 0.05)  # seconds before each attempt
IDLE_LIMIT = 60 * SECOND  # ns that a connection is kept unused
# Servers close connections that were idle, some after two seconds. A request that may not be
# repeated is only risked on one that was used just now.
FRESH: Final = SECOND


@mypyc_attr(allow_interpreted_subclasses=True)
class Endpoint(Instance):
    """An instance with its connections."""

    __slots__ = (
        "connecting",
        "connections",
        "gives_bulk",
        "gone",
        "idle",
        "last_head",
        "last_raw",
        "route",
        "standing",
    )

    def __init__(self, route: InstanceRoute) -> None:
        super().__init__(route.id)
        self.route = route
        self.connections: set[UpstreamConnection] = set()
        self.idle: list[UpstreamConnection] = []  # the last used is used next
        self.connecting: dict[Exchange, asyncio.Task[None]] = {}
        self.standing = Standing()
        self.gives_bulk = False  # a large body came from it: new connections expect one
        # Most responses have the very head of the one before (but once a second, for the Date): its
        # bytes are compared instead of parsed.
        self.last_raw = b""
        self.last_head: ResponseHead | None = None
        self.gone = False

    def lend(self, exchange: Exchange, now: int) -> None:
        """Give the exchange a connection, at once or when one is made."""
        if self.idle:
            upstream = self.idle.pop()
            if now - upstream.idle_since < FRESH or exchange.is_repeatable():
                exchange.upstream = upstream
                exchange.on_connected(upstream)
                return
            upstream.abort()
        self.connect(exchange)

    def connect(self, exchange: Exchange) -> None:
        """Make a new connection for the exchange."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self.connecting[exchange] = task

    def cancel(self, exchange: Exchange) -> bool:
        """Stop making a connection for the exchange; False if none was being made."""
        task = self.connecting.pop(exchange, None)
        return task is not None and (task.cancel() or True)

    def close_idle(self, before: int) -> None:
        """Close the connections that nobody has used since a moment."""
        for upstream in list(self.connections):
            if upstream.exchange is None and upstream.idle_since <= before:
                upstream.abort()

    def leave(self, reason: str, now: int) -> None:
        """The instance is gone: end all that is under way there."""
        self.gone = True
        for exchange in list(self.connecting):
            self.cancel(exchange)
            exchange.lose_slot(now)
        detail = reason or "it has ended"
        for upstream in list(self.connections):
            upstream.lose(f"The instance {self.id} is gone: {detail}.")

    async def _connect(self, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        reason = ""
        for pause in CONNECT_PAUSES:
            if pause:
                await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    _, upstream = await loop.create_connection(
                        lambda: UpstreamConnection(self), self.route.host, self.route.port
                    )
            except TimeoutError:
                reason = f"no answer within {CONNECT_TIMEOUT} s"
            except OSError as error:
                reason = str(error)
            else:
                del self.connecting[exchange]
                exchange.connected = monotonic_ns()
                exchange.upstream = upstream
                exchange.on_connected(upstream)
                return
        del self.connecting[exchange]
        exchange.unreachable(reason, len(CONNECT_PAUSES), monotonic_ns())
