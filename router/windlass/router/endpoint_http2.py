"""An instance that speaks HTTP/2 without TLS (h2c), with its connections: few, each with many
requests. How they are made, lent and given up.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING

from windlass.router.endpoint import CONNECT_PAUSES, CONNECT_TIMEOUT, FRESH, Endpoint
from windlass.router.errors import Problem
from windlass.router.upstream_http2 import UpstreamSession

if TYPE_CHECKING:
    from windlass.router.exchange import Exchange
    from windlass.router.link import InstanceRoute


class Http2Endpoint(Endpoint):
    """An instance that speaks h2c, with its connections."""

    __slots__ = ("sessions",)

    def __init__(self, route: InstanceRoute) -> None:
        super().__init__(route)
        self.sessions: list[UpstreamSession] = []  # those that take requests

    def lend(self, exchange: Exchange, now: int) -> None:
        """Give the exchange a stream, at once or when there is a connection for it."""
        for session in list(self.sessions):
            is_stale = not session.streams and now - session.idle_since >= FRESH
            if is_stale and not exchange.is_repeatable():
                session.close()  # as in HTTP/1: it may turn out to be closed already
            elif session.has_room():
                session.open(exchange)
                return
        self.connect(exchange)

    def connect(self, exchange: Exchange) -> None:
        """Give the exchange a stream on a connection that is to be made; all wait for the same."""
        task = next(iter(self.connecting.values()), None)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._make_session())
        self.connecting[exchange] = task

    def cancel(self, exchange: Exchange) -> bool:
        """Stop waiting for a connection; False if none was being made for the exchange."""
        task = self.connecting.pop(exchange, None)
        if task is None:
            return False
        if not self.connecting:
            task.cancel()
        return True

    def close_idle(self, before: int) -> None:
        """Close the connections that nobody has used since a moment."""
        for session in list(self.sessions):
            if not session.streams and session.idle_since <= before:
                session.close()

    def leave(self, reason: str, now: int) -> None:
        """The instance is gone: end all that is under way there."""
        super().leave(reason, now)
        detail = f"The instance {self.id} is gone: {reason or 'it has ended'}."
        for session in list(self.sessions):
            session.lose(Problem(502, "instance-gone", detail))

    async def _make_session(self) -> None:
        reason = ""
        session = None
        for pause in CONNECT_PAUSES:
            if pause:
                await asyncio.sleep(pause)
            try:
                session = await self._connect_once()
                break
            except TimeoutError:
                reason = f"no answer within {CONNECT_TIMEOUT} s"
            except OSError as error:
                reason = str(error)
        now = monotonic_ns()
        waiting = list(self.connecting)
        self.connecting.clear()
        if session is None:
            for exchange in waiting:
                exchange.unreachable(reason, len(CONNECT_PAUSES), now)
            return
        for exchange in waiting:
            if session.has_room():
                session.open(exchange)
            else:
                self.lend(exchange, now)

    async def _connect_once(self) -> UpstreamSession:
        """Return a connection whose settings are known.

        Raises:
            OSError: there is none, or it does not speak HTTP/2.
        """
        loop = asyncio.get_running_loop()
        session = UpstreamSession(self, loop.create_future())
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_connection(lambda: session, self.route.host, self.route.port)
                await session.ready
        except BaseException:
            session.discard()
            raise
        self.sessions.append(session)
        return session
