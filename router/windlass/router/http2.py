"""HTTP/2 with prior knowledge from clients: one connection, each of its streams an exchange.

Slots, retries and the instance's side are the exchange's and the upstream's concern.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived

from windlass.router.errors import Problem, bad_request
from windlass.router.exchange import CLIENT_GONE, Exchange, body_too_large
from windlass.router.grammar import Malformed
from windlass.router.headers import Peer
from windlass.router.http2_fields import (
    parse_block,
    problem_headers,
    read_request_headers,
    read_trailers,
    response_headers,
)
from windlass.router.http2_session import ALL_STREAMS, MAX_STREAMS, Input, Output, Session
from windlass.router.pool import SECOND

if TYPE_CHECKING:
    import asyncio

    from h2.events import Event

    from windlass.router.dispatch import Dispatch
    from windlass.router.headers import ResponseHead
    from windlass.router.upstream import Upstream

IDLE_TIME = 75 * SECOND
STALL_TIME = 75 * SECOND  # ns in which a client must have taken an answer that is complete
DRAIN_TIME = SECOND  # ns in which requests may still come that were sent before the GOAWAY was seen


class Stream(Exchange):
    """One request and its response."""

    __slots__ = (
        "_body_ended",
        "_is_grpc",
        "_peer",
        "_trailers",
        "_unsent",
        "deadline",
        "input",
        "output",
        "received",
        "session",
        "stream_id",
    )

    def __init__(self, session: ClientSession, stream_id: int) -> None:
        super().__init__(session.dispatch)
        self.session, self.stream_id = session, stream_id
        self.output = Output(session, stream_id, self)
        self.input = Input(session, stream_id)
        self.deadline = 0  # ns; 0: none
        self.received = 0  # bytes of the request's body so far
        self.method = b""
        self._is_grpc = False
        self._unsent = b""  # what came of the body before there was a connection to send it on
        self._trailers = b""

    # The request.

    def open(self, event: RequestReceived, peer: Peer, now: int) -> None:
        """Begin the request that the headers hold."""
        assert event.headers is not None
        self._peer = peer
        ended = event.stream_ended is not None
        self.input.ended = ended
        self._is_grpc = (b"content-type", b"application/grpc") in (
            (name, value[:16]) for name, value in event.headers
        )
        try:
            self.method, self.target, self.fields = read_request_headers(event.headers, ended, peer)
        except Malformed as error:
            self.on_problem(bad_request(f"Not a valid request: {error}."), "")
        except Problem as problem:
            self.on_problem(problem, "")
        else:
            self.begin(now)
            if self.pool is not None:
                self.deadline = now + self.pool.timeout

    def on_body(self, data: bytes, size: int) -> None:
        """Take a part of the body; `size` is what it and its padding count against the window."""
        self.received += len(data)
        if self.pool is None or self._is_too_large():
            return
        if self.upstream is None:
            self._unsent += data
            self.input.hold()
        elif data:
            self.upstream.send(data)
        self.input.receive(size)

    def on_trailers(self, event: TrailersReceived) -> None:
        """Take the request's trailers."""
        try:
            self._trailers = read_trailers(event.headers or [])
        except Malformed as error:
            self.give_up(bad_request(f"Not valid trailers: {error}."), monotonic_ns())

    def on_body_end(self) -> None:
        """The request is whole."""
        self.input.ended = True
        if self.upstream is not None and self.fields.length != 0:
            self.upstream.end(self._trailers)

    def on_connected(self, upstream: Upstream) -> None:
        """Send the request, with what is there of its body."""
        upstream.begin(self)
        if self.fields.length == 0 or self._is_too_large():
            return
        self.input.release()
        if self._unsent:
            upstream.send(self._unsent)
            self._unsent = b""
        if self.input.ended:
            upstream.end(self._trailers)

    def _is_too_large(self) -> bool:
        limit = self.pool.route.max_body if self.pool is not None else 0
        if limit and self.received > limit:
            self.give_up(body_too_large(limit), monotonic_ns())
            return True
        return False

    # The response.

    def on_informational(self, head: ResponseHead) -> None:
        """Pass on a 1xx."""
        self.output.send_headers(response_headers(head))

    def on_response(self, head: ResponseHead, body: bytes, ended: bool) -> None:
        """Pass on a head, with what is there of the body."""
        self.output.send_headers(response_headers(head), end=ended and not body)
        self.output.send(body)
        if ended:
            self.output.finish([])

    def on_data(self, data: bytes) -> None:
        """Pass on a part of the response's body."""
        self.output.send(data)

    def on_end(self, trailers: bytes) -> None:
        """End the response's body."""
        self.output.finish(parse_block(trailers))

    def on_complete(self, now: int) -> None:
        """The exchange is over; its client may still have to take the answer."""
        if self.output.ended:
            self.session.forget(self)
        else:
            self.deadline = now + STALL_TIME
            self.session.watch(self.deadline)

    def on_problem(self, problem: Problem, service: str) -> None:
        """Answer with a problem, in the words of gRPC if the client speaks it."""
        headers, body = problem_headers(problem, service, is_grpc=self._is_grpc)
        if self.method == b"HEAD":
            body = b""
        self._unsent = b""
        self.output.send_headers(headers, end=not body)
        self.output.send(body)
        self.output.finish([])
        self.on_complete(monotonic_ns())

    def on_broken(self) -> None:
        """Break off: the client must not take what it has for the whole."""
        self.session.give_up(self, ErrorCodes.INTERNAL_ERROR)

    # What can go wrong.

    def give_up(self, problem: Problem, now: int) -> None:
        """End the exchange because of its request, or because its time is over."""
        answered = self.status != 0
        service = self.pool.route.service if self.pool is not None else ""
        self.abandon(self.status or problem.status, now)
        if answered:
            self.on_broken()
        else:
            self.on_problem(problem, service)

    def expire(self, now: int) -> None:
        """The deadline is over."""
        if self.pool is None:
            self.session.give_up(self, ErrorCodes.CANCEL)
        else:
            seconds = f"{self.pool.route.timeout:g}"
            detail = f"The request took longer than its revision's timeout of {seconds} s."
            self.give_up(Problem(504, "request-timeout", detail), now)

    def end(self, now: int) -> None:
        """The client has given up the request."""
        self.output.drop()
        self.input.ended = True
        self._unsent = b""
        self.abandon(self.status or CLIENT_GONE, now)

    # Back-pressure.

    def on_upstream_full(self) -> None:
        """Hold the client back."""
        self.input.hold()

    def on_upstream_ready(self) -> None:
        """Take more of the client."""
        self.input.release()

    def on_output_full(self) -> None:
        """The client does not keep up with the response."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def on_output_room(self) -> None:
        """The client takes more."""
        if self.upstream is not None:
            self.upstream.resume_reading()

    def on_output_ended(self) -> None:
        """The answer is handed over whole."""
        if self.pool is None:
            self.session.forget(self)


class ClientSession(Session):
    """A client's connection."""

    _peer: Peer

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(client_side=False)
        self.dispatch = dispatch
        self.deadline = 0
        self.streams: dict[int, Stream] = {}
        self._last_begun = 0  # moment at which the last request came
        self._ending = False  # a GOAWAY was said or heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._peer = Peer.of(self._transport)
        now = monotonic_ns()
        self.deadline = now + IDLE_TIME
        self.dispatch.clients.add(self)
        if self.dispatch.draining:
            self.drain(now, now + DRAIN_TIME)

    def on_event(self, event: Event, now: int) -> None:
        """Take what the client sent."""
        match event:
            case RequestReceived():
                self._open(event, now)
            case DataReceived():
                self.receive(event.flow_controlled_length or 0)
                if stream := self.streams.get(event.stream_id or 0):
                    stream.on_body(event.data or b"", event.flow_controlled_length or 0)
            case TrailersReceived():
                if stream := self.streams.get(event.stream_id or 0):
                    stream.on_trailers(event)
            case StreamEnded():
                if stream := self.streams.get(event.stream_id or 0):
                    stream.on_body_end()
            case StreamReset():
                if not event.remote_reset:
                    self.guard.count_reset(now)  # it made us give up the stream
                if stream := self.streams.pop(event.stream_id or 0, None):
                    stream.end(now)
                    self._note_idle(now)

    def _open(self, event: RequestReceived, now: int) -> None:
        stream_id = event.stream_id or 0
        if len(self.streams) >= MAX_STREAMS:
            self.guard.count_reset(now)
            self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last_begun = now
        stream = self.streams[stream_id] = Stream(self, stream_id)
        stream.open(event, self._peer, now)
        if stream.deadline:
            self.watch(stream.deadline)

    def watch(self, deadline: int) -> None:
        """Look at the streams at this moment at the latest."""
        self.deadline = min(self.deadline, deadline)

    def forget(self, stream: Stream) -> None:
        """The stream's answer is handed over: leave the rest of its request where it is."""
        if self.streams.pop(stream.stream_id, None) is None:
            return
        if not stream.input.ended:
            stream.input.ended = True
            self.reset(stream.stream_id, ErrorCodes.NO_ERROR)
        self._note_idle(monotonic_ns())

    def give_up(self, stream: Stream, code: ErrorCodes) -> None:
        """Reset a stream that has no exchange any more."""
        if self.streams.pop(stream.stream_id, None) is not None:
            stream.output.drop()
            stream.input.ended = True
            self.reset(stream.stream_id, code)
            self._note_idle(monotonic_ns())

    def _note_idle(self, now: int) -> None:
        if not self.streams:
            self.deadline = now + (DRAIN_TIME if self._ending else IDLE_TIME)

    # The connection's end.

    def expire(self, now: int) -> None:
        """A deadline may be over: that of a stream, or of the idle connection."""
        for stream in [stream for stream in self.streams.values() if stream.deadline <= now]:
            stream.expire(now)
        if self.streams:
            self.deadline = min(stream.deadline for stream in self.streams.values())
        elif self.deadline <= now:
            if not self.ended:
                self.send_goaway(self.connection.highest_inbound_stream_id)
            self.close()

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""
        return not self.streams

    def drain(self, now: int, until: int) -> None:
        """Say that the connection ends, serve what comes until the client has seen it."""
        if self._ending or self.ended:
            return
        self._ending = True
        self.send_goaway(ALL_STREAMS)
        if not self.streams:
            recent = self._last_begun > now - DRAIN_TIME
            self.deadline = min(until, now + DRAIN_TIME) if recent else now

    def on_goaway(self, last: int, code: int) -> None:
        """The client begins no more: what is under way is finished."""
        self._ending = True
        self._note_idle(monotonic_ns())

    def close(self) -> None:
        """Close; nobody waits for an answer any more."""
        super().close()
        self._end_streams()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: so are its requests."""
        self.ended = True
        self.deadline = 0
        self._end_streams()
        self.dispatch.forget_client(self)

    def _end_streams(self) -> None:
        now = monotonic_ns()
        for stream in list(self.streams.values()):
            stream.end(now)
        self.streams.clear()
