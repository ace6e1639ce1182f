"""A client's connection of HTTP/1 in time: what it waits for, who holds back whom, how it ends.

What is said on it is not known here.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, cast

from windlass.router.errors import Problem
from windlass.router.exchange import CLIENT_GONE, Exchange
from windlass.router.headers import Peer
from windlass.router.pool import SECOND
from windlass.router.stall import (
    MAX_UNSENT,
    MIN_PROGRESS,
    STALL_TIME,
    awaits_continue,
    body_timeout,
    limit_unsent,
    unread,
)

if TYPE_CHECKING:
    from windlass.router.body import RequestBody
    from windlass.router.dispatch import Dispatch

HEAD_TIME = 10 * SECOND  # ns from a head's first byte to its last
IDLE_TIME: Final = 75 * SECOND
LINGER_TIME = 2 * SECOND  # ns in which a refused client may read why

# What a connection awaits from its client.
AWAITS_HEAD: Final = 0
AWAITS_BODY: Final = 1
AWAITS_NOTHING: Final = 2
TUNNEL: Final = 3
ENDED: Final = 4


class PacedConnection(Exchange, asyncio.Protocol):
    """What the protocol above builds on: it says when the connection's state changes."""

    __slots__ = (
        "_body",
        "_body_came",
        "_buffer",
        "_keep",
        "_keeps_up",
        "_peer",
        "_reading",
        "_state",
        "_transport",
        "_tunnel_used",
        "_unread",
        "_unsent",
        "_writable",
        "deadline",
    )

    _transport: asyncio.Transport
    _peer: Peer

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(dispatch)
        self.deadline = 0
        self._state = AWAITS_HEAD
        self._keep = True  # after this request, await another
        self._buffer = bytearray()  # a head that is not whole yet, or requests to come
        self._reading = True
        self._writable = True
        self._keeps_up = False  # once took all that was held back for it
        self._body: RequestBody | None = None  # of the request under way, if it has one
        self._unsent = b""  # what came of it before there was a connection to send it on
        # Bytes at the last look for a stall; -1: not to be compared, the client was held back.
        self._body_came = -1
        self._unread = -1
        self._tunnel_used = 0  # moment at which something passed last

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = Peer.of(self._transport)
        self.deadline = monotonic_ns() + IDLE_TIME
        self.dispatch.clients.add(self)

    def _go_on(self, now: int) -> None:
        self._resume_reading()
        self.deadline = now + (HEAD_TIME if self._buffer else IDLE_TIME)
        if self._buffer:
            self._serve_buffer()

    # The connection's end.

    def on_broken(self) -> None:
        """Break off: the client must not take what it has for the whole."""
        self._state = ENDED
        self._transport.abort()

    def _close(self, now: int) -> None:
        """Close once all is written. Closing with bytes unread would take the answer back."""
        if (self._state == AWAITS_NOTHING and not self._buffer) or self._state == TUNNEL:
            self._state = ENDED
            self._unread = unread(self._transport)
            self.deadline = now + STALL_TIME
            self._transport.close()
        elif self._state != ENDED:
            self._state = ENDED
            self._buffer.clear()
            self.deadline = now + LINGER_TIME
            self._resume_reading()
            if self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()

    # Deadlines.

    def expire(self, now: int) -> None:
        """The deadline is over, or it is time to look for a stall."""
        self.deadline = 0
        is_behind = not self._writable or (self._state == ENDED and self._transport.is_closing())
        if is_behind and not self._takes_answer():
            self._transport.abort()
        elif self.pool is not None:
            if self._state == TUNNEL:
                self._expire_tunnel(self.pool.timeout, now)
            else:
                self._expire_request(self.pool.route.timeout, self.began + self.pool.timeout, now)
        elif is_behind:
            self.deadline = now + STALL_TIME
        elif self._state == AWAITS_HEAD and self._buffer:
            detail = f"The request's head did not come within {HEAD_TIME // SECOND} s."
            self._reject(Problem(408, "head-timeout", detail))
        else:
            self._transport.abort()

    def _expire_request(self, timeout: float, ends: int, now: int) -> None:
        if now >= ends:
            detail = f"The request took longer than its revision's timeout of {timeout:g} s."
            self._give_up(Problem(504, "request-timeout", detail))
        elif not self._brings_body():
            self._give_up(body_timeout())
        else:
            self.deadline = min(ends, now + STALL_TIME)

    def _brings_body(self) -> bool:
        """Tell whether the client sends its body, as far as it is its turn."""
        body = self._body
        if self._state != AWAITS_BODY or body is None or self.status:
            return True  # an instance that answers already may be in a talk with its client
        before, self._body_came = self._body_came, body.received
        if not self._reading or self.upstream is None:
            self._body_came = -1
            return True
        if awaits_continue(self.fields.block, body.received):
            return True
        return before < 0 or body.received - before >= MIN_PROGRESS

    def _takes_answer(self) -> bool:
        """Tell whether the client reads what it has been sent."""
        before, self._unread = self._unread, unread(self._transport)
        return before < 0 or before - self._unread >= MIN_PROGRESS

    def _look_within(self, moment: int) -> None:
        """Look for a stall at this moment at the latest."""
        if not self.deadline or self.deadline > moment:
            self.deadline = moment

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""
        return self.pool is None

    def drain(self, now: int, until: int, *, patient: bool) -> None:
        """Close if nothing is under way, else after it."""
        if not (patient and self.status):
            self._keep = False  # else an answer has begun that says otherwise
        if self._state == AWAITS_HEAD and not self._buffer:
            # Its next request may be on its way: serve that one too.
            used_just_now = self.deadline - IDLE_TIME > now - SECOND
            if patient:
                self.deadline = min(until, self.deadline)
            elif used_just_now:
                self.deadline = min(until, now + SECOND)
            else:
                self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def eof_received(self) -> None:
        """Let the transport close: a client that does not wait for its answer is gone."""

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: so is its request."""
        self._state = ENDED
        self.deadline = 0
        self._unsent = b""
        self.dispatch.forget_client(self)
        self.abandon(self.status or CLIENT_GONE, monotonic_ns())

    def _expire_tunnel(self, timeout: int, now: int) -> None:
        """End the tunnel if its request has lasted too long or nothing passes any more."""
        ends, idle = self.began + timeout, self.dispatch.tunnel_idle
        if idle:
            ends = min(ends, self._tunnel_used + idle)
        if now < ends:
            self.deadline = min(ends, now + STALL_TIME)
        else:
            self.abandon(self.status, now)
            self._close(now)
            self.deadline = now + LINGER_TIME

    # Back-pressure.

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._body_came = -1
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def on_upstream_full(self) -> None:
        """Hold the client back."""
        self._pause_reading()

    def on_upstream_ready(self) -> None:
        """Take more of the client."""
        self._resume_reading()

    def pause_writing(self) -> None:
        """The client does not keep up with the response."""
        self._writable = False
        self._unread = -1
        self._look_within(monotonic_ns() + STALL_TIME)
        if self.upstream is not None:
            self.upstream.pause_reading()

    def resume_writing(self) -> None:
        """The client takes more."""
        self._writable = True
        if not self._keeps_up:
            self._keeps_up = True
            limit_unsent(self._transport, MAX_UNSENT)
        if self.upstream is not None:
            self.upstream.resume_reading()
        elif self._state == AWAITS_HEAD:
            self._go_on(monotonic_ns())

    # What the protocol above implements.

    @abstractmethod
    def _serve_buffer(self) -> None:
        """Begin the request that is in the buffer."""

    @abstractmethod
    def _reject(self, problem: Problem) -> None:
        """Answer what is no request, and close."""

    @abstractmethod
    def _give_up(self, problem: Problem) -> None:
        """End the request under way with a problem."""
