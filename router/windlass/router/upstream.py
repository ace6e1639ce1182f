"""A kept-alive HTTP/1.1 connection to an instance: requests out, responses in, strictly parsed.

A connection in doubt is closed, never used again. Routing and slots are not known here.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, cast

from mypy_extensions import mypyc_attr

from windlass.router.bulk import BULK, CAN_SPLICE, FIRST, MIN, BulkReader
from windlass.router.chunked import ChunkedBody, encode_chunk
from windlass.router.errors import Problem, bad_response
from windlass.router.grammar import HEAD_END, Malformed, parse_status_line
from windlass.router.headers import CHUNKED, ResponseHead, read_response
from windlass.router.tunnel import check_switch

if TYPE_CHECKING:
    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange

MAX_HEAD: Final = 64 * 1024  # bytes of a response's head
MAX_INFORMATIONAL: Final = 1000  # heads of 1xx before the final one
_now: Final = monotonic_ns  # compiled code finds a Final without a look-up
LINGER_TIME = 2.0  # seconds in which an instance may take the end of a tunnel

# What a connection awaits.
_IDLE: Final = 0
_HEAD: Final = 1
_LENGTH: Final = 2
_CHUNKS: Final = 3
_CLOSE: Final = 4
_TUNNEL: Final = 5


@mypyc_attr(allow_interpreted_subclasses=True)
class Upstream(ABC):
    """What an exchange sends its request on, whatever protocol the instance speaks."""

    __slots__ = ()

    @abstractmethod
    def begin(self, exchange: Exchange) -> None:
        """Send the request's head."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send a part of the request's body, or of the tunnel."""

    @abstractmethod
    def request_outlet(self) -> asyncio.Transport | None:
        """Return where parts of the request's body may go as they are, None: by `send` only."""

    @abstractmethod
    def end(self, trailers: bytes) -> None:
        """End the request's body; trailers are fields, each with its CRLF."""

    @abstractmethod
    def abort(self) -> None:
        """Give up the request; whoever made it has let go of it."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Stop taking the response: its client does not keep up."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Take the response again."""


class UpstreamConnection(Upstream, asyncio.Protocol):
    """One connection to an instance, serving one exchange at a time."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_chunks_out",
        "_informational",
        "_is_bulky",
        "_left",
        "_reading",
        "_request_ended",
        "_reusable",
        "_state",
        "_transport",
        "endpoint",
        "exchange",
        "idle_since",
        "used",
    )

    _transport: asyncio.Transport

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.exchange: Exchange | None = None
        self.idle_since = 0
        self.used = False  # has served a request: it may turn out to be closed
        self._state = _IDLE
        self._buffer = b""  # a head that is not whole yet
        self._left = 0  # bytes of a body with Content-Length that are to come
        self._chunks: ChunkedBody | None = None
        self._chunks_out = False
        self._informational = 0  # heads of 1xx so far
        self._request_ended = True
        self._reusable = False
        self._reading = True
        self._is_bulky = False  # has had a large body

    # The request.

    def begin(self, exchange: Exchange) -> None:
        """Send the request's head."""
        self.exchange = exchange
        fields = exchange.fields
        self._state = _HEAD
        self._informational = 0
        self._chunks_out = fields.length == CHUNKED
        self._request_ended = fields.length == 0
        self._transport.write(
            b"%b %b HTTP/1.1\r\n%b%b\r\n"
            % (exchange.method, exchange.target, fields.block, exchange.own_fields())
        )

    def send(self, data: bytes) -> None:
        """Send a part of the request's body, or of the tunnel."""
        self._transport.write(encode_chunk(data) if self._chunks_out else data)

    def request_outlet(self) -> asyncio.Transport | None:
        """Return where parts of the request's body may go as they are, None: by `send` only."""
        return None if self._chunks_out else self._transport

    def end(self, trailers: bytes) -> None:
        """End the request's body."""
        self._request_ended = True
        if self._chunks_out:
            self._transport.write(b"0\r\n%b\r\n" % trailers)

    # The response.

    def awaits_bulk(self) -> bool:
        """Tell whether a large body comes next, or the head before one."""
        return self._state == _HEAD or self.way_on() is not None

    def way_on(self) -> tuple[asyncio.Transport, int] | None:
        """Return where bytes of a large body go as they are, and how many are to come."""
        exchange = self.exchange
        if exchange is None or self._state != _LENGTH or self._left < MIN:
            return None
        outlet = exchange.response_outlet()
        return None if outlet is None else (outlet, self._left)

    def passed(self, size: int) -> None:
        """So many bytes went there."""
        self._left -= size
        if not self._left and self.exchange is not None:
            self._read_length(self.exchange, b"")

    def data_received(self, data: bytes) -> None:
        """Take what the instance sent."""
        exchange = self.exchange
        state = self._state
        if exchange is None:
            self.abort()  # nobody asked
        elif state == _HEAD:
            self._read_heads(exchange, self._buffer + data if self._buffer else data)
        elif state == _LENGTH:
            self._read_length(exchange, data)
        elif state == _CHUNKS:
            self._read_chunks(exchange, data)
        else:
            exchange.on_data(data)

    def _read_heads(self, exchange: Exchange, data: bytes) -> None:
        while True:
            known = self.endpoint.last_head
            if known is not None and data.startswith(self.endpoint.last_raw):
                head, size = known, len(self.endpoint.last_raw)
            else:
                end = data.find(HEAD_END)
                if end < 0:
                    self._buffer = data
                    if len(data) > MAX_HEAD:
                        self._refuse(f"its head is over the limit of {MAX_HEAD} bytes")
                    return
                size = end + len(HEAD_END)
                try:
                    head = self._parse(data[:size])
                except Malformed as error:
                    self._refuse(str(error))
                    return
            data = data[size:]
            if head.status >= 200 or head.status == 101:
                break
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                self._refuse(f"it sent more than {MAX_INFORMATIONAL} heads of 1xx")
                return
            exchange.on_informational(head)
        self._buffer = b""
        if head.status == 101:
            self._switch(exchange, head, data)
        else:
            self._respond(exchange, head, data)

    def _parse(self, raw: bytes) -> ResponseHead:
        line_end = raw.find(b"\r\n")
        minor, status, reason = parse_status_line(raw[:line_end])
        head = read_response(raw[line_end + 2 : -2], minor, status, reason)
        self.endpoint.last_raw, self.endpoint.last_head = raw, head
        return head

    def _respond(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        """Hand over a final head and what came behind it."""
        exchange.status = head.status
        if exchange.wants_fields:
            head = exchange.with_own_fields(head, monotonic_ns())
        self._reusable = not head.close
        length = 0 if exchange.method == b"HEAD" or head.has_no_body else head.length
        if self._is_bulky and not self.used and length < BULK:
            self.endpoint.gives_bulk = self._is_bulky = False  # it was expected in vain
            self._transport.set_protocol(self)
        if length == len(data):
            exchange.on_response(head, data, True)
            self._complete(exchange)
            return
        if length >= 0:
            self._state, self._left = _LENGTH, length
            if length >= BULK and CAN_SPLICE and not self._is_bulky:
                self.endpoint.gives_bulk = self._is_bulky = True
                BulkReader.take_over(self, self._transport, FIRST)
        elif length == CHUNKED:
            self._state, self._chunks = _CHUNKS, ChunkedBody()
        else:
            self._state, self._reusable = _CLOSE, False
        if self._state == _CLOSE:
            exchange.on_response(head, data, False)
        elif self._state == _LENGTH and len(data) < length:
            self._left -= len(data)
            exchange.on_response(head, data, False)
        else:
            exchange.on_response(head, b"", False)
            if data:
                self.data_received(data)

    def _read_length(self, exchange: Exchange, data: bytes) -> None:
        if len(data) > self._left:
            self._reusable = False  # more than announced: the rest is nobody's
            data = data[: self._left]
        self._left -= len(data)
        if data:
            exchange.on_data(data)
        if not self._left:
            exchange.on_end(b"")
            self._complete(exchange)

    def _read_chunks(self, exchange: Exchange, data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None
        try:
            body = chunks.feed(data)
        except Malformed as error:
            self._refuse(str(error))
            return
        if body:
            exchange.on_data(body)
        if chunks.done:
            if chunks.rest:
                self._reusable = False
            exchange.on_end(chunks.trailers)
            self._complete(exchange)

    def _switch(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        """Become a tunnel, if that is what was asked for."""
        try:
            check_switch(exchange.fields, head)
        except Malformed as error:
            self._refuse(str(error))
            return
        exchange.status = 101
        self._state = _TUNNEL
        exchange.on_response(head, b"", False)
        if data:
            exchange.on_data(data)

    def _complete(self, exchange: Exchange) -> None:
        """The response is whole: keep the connection if nothing is in doubt, free the slot."""
        now = _now()
        self.exchange = None
        if self._reusable and self._request_ended and not self.endpoint.gone:
            self._state = _IDLE
            self._chunks = None
            self.used = True
            self.idle_since = now
            if not self._reading:
                self.resume_reading()
            self.endpoint.idle.append(self)
        else:
            self._transport.close()
        exchange.complete(now)

    # What can go wrong.

    def _refuse(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self._transport.abort()
        if exchange is not None:
            exchange.fail(bad_response(reason), monotonic_ns())

    def abort(self) -> None:
        """Close at once; whoever used the connection has let go of it."""
        self.exchange = None
        self._leave_idle()
        if self._state == _TUNNEL:
            self._transport.close()  # what the client sent last still goes out, if it is taken
            asyncio.get_running_loop().call_later(LINGER_TIME, self._transport.abort)
        else:
            self._transport.abort()

    def _leave_idle(self) -> None:
        if self._state == _IDLE and self in self.endpoint.idle:
            self.endpoint.idle.remove(self)

    def lose(self, detail: str) -> None:
        """Close at once; the exchange fails."""
        exchange = self.exchange
        self.abort()
        if exchange is not None:
            exchange.fail(Problem(502, "instance-gone", detail), monotonic_ns())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.idle_since = monotonic_ns()
        self.endpoint.connections.add(self)
        if self.endpoint.gives_bulk:
            self._is_bulky = True
            BulkReader.take_over(self, self._transport, FIRST)

    def eof_received(self) -> None:
        """Let the transport close: an instance that half-closes has nothing more to say."""

    def connection_lost(self, error: Exception | None) -> None:
        """The instance closed the connection, or we did."""
        self.endpoint.connections.discard(self)
        self._leave_idle()
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        if self._state == _CLOSE and error is None:
            exchange.on_end(b"")
            exchange.complete(monotonic_ns())
        elif self._state == _TUNNEL:
            exchange.complete(monotonic_ns())
        elif self._untouched() and self._may_repeat(exchange):
            exchange.upstream = None
            self.endpoint.connect(exchange)  # it was closed while it was idle
        else:
            detail = f"The instance {self.endpoint.id} closed the connection before it had answered"
            reason = f": {error}." if error else "."
            exchange.lose(Problem(502, "instance-closed", detail + reason), monotonic_ns())

    def _may_repeat(self, exchange: Exchange) -> bool:
        """Tell whether the request may have met a connection that was closed while it was idle."""
        return self.used and exchange.is_repeatable() and exchange.may_retry()

    def _untouched(self) -> bool:
        return self._state == _HEAD and not self._buffer

    # Back-pressure.

    def pause_reading(self) -> None:
        """Stop taking the response: its client does not keep up."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take the response again."""
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The instance does not keep up with the request's body."""
        if self.exchange is not None:
            self.exchange.on_upstream_full()

    def resume_writing(self) -> None:
        """The instance takes more."""
        if self.exchange is not None:
            self.exchange.on_upstream_ready()
