"""HTTP/1.1 and 1.0 from clients: one connection, its requests one after another.

Slots, retries and the instance's side are the exchange's and the upstream's concern.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from windlass.router.body import RequestBody
from windlass.router.bulk import BULK, CAN_SPLICE, MIN, PIPE, BulkReader
from windlass.router.chunked import encode_chunk
from windlass.router.errors import Problem, bad_request
from windlass.router.exchange import body_too_large
from windlass.router.grammar import (
    HEAD_END,
    Malformed,
    parse_request_line,
    parse_target,
)
from windlass.router.headers import RequestFields, read_request
from windlass.router.http2 import ClientSession
from windlass.router.http2_frames import PREFACE_LINE
from windlass.router.limits import check_partial_head, check_sizes
from windlass.router.pace import (
    AWAITS_BODY,
    AWAITS_HEAD,
    AWAITS_NOTHING,
    ENDED,
    HEAD_TIME,
    IDLE_TIME,
    TUNNEL,
    PacedConnection,
)
from windlass.router.responses import compose, connection_field
from windlass.router.stall import STALL_TIME

if TYPE_CHECKING:
    import asyncio

    from windlass.router.dispatch import Dispatch
    from windlass.router.headers import ResponseHead
    from windlass.router.upstream import Upstream

MAX_PIPELINED: Final = 64 * 1024  # bytes taken of requests that have to wait for their turn
_now: Final = monotonic_ns  # compiled code finds a Final without a look-up
MAX_KEPT: Final = 1024  # bytes of a request that are kept to be compared with the next
PART: Final = 16 * 1024  # bytes of the buffer taken at once that may hold more than one body


class ClientConnection(PacedConnection):
    """A client's connection, and the exchange of the request it serves at the moment."""

    __slots__ = (
        "_chunks_out",
        "_is_bulky",
        "_last_fields",
        "_last_request",
        "_last_section",
        "_minor",
        "_serving_buffer",
    )

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(dispatch)
        self._minor = 1
        self._serving_buffer = False
        self._is_bulky = False  # has had a large body
        self._chunks_out = False  # the response goes out in chunks
        # Most requests of a connection have the very fields of the one before, and who polls sends
        # the very same request: their bytes are compared instead of parsed.
        self._last_request: bytes | None = None  # what method, target and fields hold
        self._last_section: bytes | None = None
        self._last_fields = RequestFields()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        state = self._state
        if state == AWAITS_HEAD:
            if not self._buffer:
                if data == self._last_request:
                    self._start()
                    return
                end = data.find(HEAD_END)
                if end >= 0:
                    if len(data) > end + len(HEAD_END):
                        self._buffer += memoryview(data)[end + len(HEAD_END) :]
                    self._begin_request(data, end)
                    return
                self.deadline = monotonic_ns() + HEAD_TIME
            self._buffer += data
            self._serve_buffer(max(len(self._buffer) - len(data) - 3, 0))
        elif state == AWAITS_BODY:
            assert self._body is not None
            self._read_body(self._body, data)
        elif state == TUNNEL:
            self._tunnel_used = monotonic_ns()
            if self.upstream is not None:
                self.upstream.send(data)
        elif state == AWAITS_NOTHING:
            self._buffer += data
            if len(self._buffer) > MAX_PIPELINED:
                self._pause_reading()

    # The request's head.

    def _serve_buffer(self, searched: int = 0) -> None:
        """Begin the buffered requests, as far as they are whole and the one before is answered."""
        if self._serving_buffer:
            return
        self._serving_buffer = True
        while self._buffer and self._state == AWAITS_HEAD and self._writable:
            end = self._buffer.find(HEAD_END, searched)
            if end < 0:
                try:
                    check_partial_head(self._buffer, searched)
                except Problem as problem:
                    self._reject(problem)
                break
            head = bytes(self._buffer[:end])
            del self._buffer[: end + len(HEAD_END)]
            searched = 0
            self._begin_request(head + HEAD_END, end)
        self._serving_buffer = False

    def _begin_request(self, data: bytes, end: int) -> None:
        """Begin the request whose head ends in `data` at `end`; what follows is in the buffer."""
        if data.startswith(b"\r\n") and end >= 2:
            data, end = data[2:], end - 2  # RFC 9112 2.2: an empty line before it is ignored
        line_end = data.find(b"\r\n", 0, end + 2)
        try:
            check_sizes(line_end, end - line_end)
            self.method, target, minor = parse_request_line(data[:line_end])
            section = data[line_end + 2 : end + 2]
            if section == self._last_section and minor == 1 and target[0] == 0x2F:  # "/"
                self.target = target
                fields = self._last_fields
            else:
                fields = self._read_fields(target, minor, section)
        except Malformed as error:
            if data.startswith(PREFACE_LINE) and not self.began:
                self._change_to_http2(data)
            else:
                self._reject(bad_request(f"Not a valid request: {error}."))
            return
        except Problem as problem:
            self._reject(problem)
            return
        self.fields = fields
        self._minor = minor
        is_whole = fields.length == 0 and len(data) == end + len(HEAD_END)
        self._last_request = data if is_whole and len(data) <= MAX_KEPT else None
        self._start()

    def _start(self) -> None:
        """Begin the request that method, target and fields hold."""
        fields, minor = self.fields, self._minor
        self._keep = (minor == 1 or fields.keep_alive) and not fields.close
        if self.dispatch.draining:
            self._keep = False
        now = _now()
        self.status = 0
        if fields.length == 0:
            self._state = AWAITS_NOTHING
        else:
            self._state = AWAITS_BODY
            self._body = body = RequestBody(fields.length)
            self._body_came = 0
            if fields.length >= BULK and CAN_SPLICE and not self._is_bulky and self._is_plain():
                self._is_bulky = True
                BulkReader.take_over(self, self._transport, PIPE)
            size = len(self._buffer) if fields.length >= len(self._buffer) else PART
            while self._buffer and self._state == AWAITS_BODY:
                part = bytes(self._buffer[:size])
                del self._buffer[:size]
                self._read_body(body, part)
            if self._state == ENDED:
                return
        self.deadline = 0
        self.begin(now)
        if self.pool is not None:
            self.deadline = now + self.pool.timeout
            if self._state == AWAITS_BODY:
                self._look_within(now + STALL_TIME)

    def _change_to_http2(self, data: bytes) -> None:
        """Give the connection to HTTP/2, with which its client began."""
        session = ClientSession(self.dispatch)
        self._state = ENDED
        self.deadline = 0
        self._transport.set_protocol(session)
        session.connection_made(self._transport)
        self.dispatch.clients.discard(self)
        session.data_received(data)

    def _read_fields(self, target: bytes, minor: int, section: bytes) -> RequestFields:
        if self.method == b"CONNECT":
            raise Malformed("CONNECT is not served")
        self.target, authority = parse_target(self.method, target)
        if minor != 1 or authority:
            return read_request(section, minor, authority, self._peer)
        dispatch = self.dispatch
        fields = dispatch.known_fields
        if fields is None or section != dispatch.known_section or self._peer != dispatch.known_peer:
            fields = read_request(section, minor, authority, self._peer)
            dispatch.known_section, dispatch.known_peer = section, self._peer
            dispatch.known_fields = fields
        self._last_section, self._last_fields = section, fields
        return fields

    # The request's body.

    def _read_body(self, body: RequestBody, data: bytes) -> None:
        try:
            part = body.feed(data)
        except Malformed as error:
            self._give_up(bad_request(f"Not a valid body: {error}."))
            return
        if self.upstream is None:
            self._unsent += part
            self._pause_reading()
        elif self._is_too_large(body):
            return
        elif part:
            self.upstream.send(part)
        if body.ended:
            self._state = AWAITS_NOTHING
            self._buffer[:0] = body.rest
            if self.upstream is not None:
                self.upstream.end(body.trailers)

    def awaits_bulk(self) -> bool:
        """Tell whether a large body comes next, or the head before one."""
        return self._state == AWAITS_HEAD or self.way_on() is not None

    def way_on(self) -> tuple[asyncio.Transport, int] | None:
        """Return where bytes of a large body go as they are, and how many are to come."""
        body, upstream = self._body, self.upstream
        if self._state != AWAITS_BODY or body is None or upstream is None or body.passable < MIN:
            return None
        outlet = upstream.request_outlet()
        return None if outlet is None else (outlet, body.passable)

    def passed(self, size: int) -> None:
        """So many bytes went there."""
        body = self._body
        if body is not None:
            body.passed(size)
            if not body.passable:
                self._read_body(body, b"")

    def _is_too_large(self, body: RequestBody) -> bool:
        """Refuse a body that passes the limit; one with a Content-Length was refused before."""
        limit = self.pool.max_body if self.pool is not None else 0
        if limit and body.received > limit:
            self._give_up(body_too_large(limit))
            return True
        return False

    def on_connected(self, upstream: Upstream) -> None:
        """Send the request, with what is there of its body."""
        upstream.begin(self)
        body = self._body
        if body is None or self._is_too_large(body):
            return
        self._resume_reading()
        self._body_came = 0 if self.granted == self.began else -1  # -1: it had to wait
        if self._unsent:
            upstream.send(self._unsent)
            self._unsent = b""
        if body.ended:
            upstream.end(body.trailers)

    # The response.

    def on_informational(self, head: ResponseHead) -> None:
        """Pass on a 1xx; HTTP/1.0 has none."""
        if self._minor == 1:
            self._transport.write(head.plain)

    def on_response(self, head: ResponseHead, body: bytes, ended: bool) -> None:
        """Pass on a head, with what is there of the body."""
        if head.length >= 0 and self._keep and self._minor == 1 and self._state == AWAITS_NOTHING:
            self._chunks_out = False
            # One write for a small answer; a large body is not copied to be joined to its head.
            if len(body) < MAX_PIPELINED:
                self._transport.write(head.plain + body)
            else:
                self._transport.write(head.plain)
                self._transport.write(body)
            return
        if head.status == 101:
            self._begin_tunnel(head)
            return
        keep = self._keep and self._state == AWAITS_NOTHING  # what is unread of a body stays unread
        composed = compose(head, self.method, self._minor, keep)
        self._keep, self._chunks_out = composed.keep, composed.in_chunks
        self._transport.write(composed.head)
        if body:
            self.on_data(body)
        if ended:
            self.on_end(b"")

    def _begin_tunnel(self, head: ResponseHead) -> None:
        self._state = TUNNEL
        self._chunks_out = False
        self._tunnel_used = monotonic_ns()
        if self.dispatch.tunnel_idle:
            self.deadline = min(self.deadline, self._tunnel_used + self.dispatch.tunnel_idle)
        self._transport.write(head.plain)
        if self._buffer and self.upstream is not None:
            self.upstream.send(bytes(self._buffer))
            self._buffer.clear()
        self._resume_reading()

    def response_outlet(self) -> asyncio.Transport | None:
        """Return where parts of the response's body may go as they are, None: by on_data only."""
        return self._transport if self._is_plain() and not self._chunks_out else None

    def _is_plain(self) -> bool:
        return self._peer.scheme == b"http"

    def on_data(self, data: bytes) -> None:
        """Pass on a part of the response's body, or of the tunnel."""
        if self._state == TUNNEL:
            self._tunnel_used = monotonic_ns()
        self._transport.write(encode_chunk(data) if self._chunks_out else data)

    def on_end(self, trailers: bytes) -> None:
        """End the response's body."""
        if self._chunks_out:
            self._transport.write(b"0\r\n%b\r\n" % trailers)

    def on_complete(self, now: int) -> None:
        """Go on with the next request, or close."""
        self._body = None
        if self._state != AWAITS_NOTHING or not self._keep:
            self._close(now)
            return
        self._state = AWAITS_HEAD
        self.deadline = now + IDLE_TIME
        if not self._writable:
            self._pause_reading()  # no other request before this answer is read
        elif self._buffer or not self._reading:
            self._go_on(now)

    def on_problem(self, problem: Problem, service: str) -> None:
        """Answer with a problem."""
        head, body = problem.head_and_body(service)
        now = monotonic_ns()
        if self._state != AWAITS_NOTHING:
            self._keep = False  # what else comes on this connection is not known
        head += connection_field(self._minor, self._keep)
        is_head = self._state != AWAITS_HEAD and self.method == b"HEAD"
        self._transport.write(head + b"\r\n" + (b"" if is_head else body))
        self._unsent = b""
        self.on_complete(now)

    # What is refused.

    def _reject(self, problem: Problem) -> None:
        """Answer what is no request, and close."""
        self._state = AWAITS_HEAD
        self._buffer.clear()
        self.on_problem(problem, "")

    def _give_up(self, problem: Problem) -> None:
        """End the exchange because of its request's body."""
        answered = self.status != 0
        service = self.pool.route.service if self.pool is not None else ""
        self.abandon(self.status or problem.status, monotonic_ns())
        if answered:
            self.on_broken()
        else:
            self._state = AWAITS_BODY
            self.on_problem(problem, service)
