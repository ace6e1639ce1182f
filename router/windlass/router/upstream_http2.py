"""A connection to an instance that speaks HTTP/2 without TLS (h2c), with many requests at a time.

Routing and slots are not known here; retries follow the rules of `upstream`.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from windlass.router.errors import Problem, bad_response
from windlass.router.grammar import Malformed
from windlass.router.http2_fields import (
    parse_block,
    read_response_headers,
    read_trailers,
    request_headers,
)
from windlass.router.http2_flow import Input, Output
from windlass.router.http2_session import MAX_STREAMS, Session
from windlass.router.upstream import MAX_INFORMATIONAL, Upstream

if TYPE_CHECKING:
    import asyncio

    from h2.events import Event

    from windlass.router.endpoint_http2 import Http2Endpoint
    from windlass.router.exchange import Exchange

LAST_STREAM = 1 << 30  # ids end at 2**31: before that, another connection is made
SHORT = "its body is shorter than its Content-Length"
NOT_HTTP2 = (
    "it does not speak HTTP/2 without TLS; if it speaks HTTP/1.1, name its port http1 "
    "or deploy with --no-use-http2"
)


class UpstreamSession(Session):
    """One connection to an instance."""

    def __init__(self, endpoint: Http2Endpoint, ready: asyncio.Future[None]) -> None:
        super().__init__(client_side=True)
        self.endpoint = endpoint
        self.ready = ready  # done when the instance's settings came
        self.streams: dict[int, UpstreamStream] = {}
        self.idle_since = 0
        self.used = False  # has served a request: it may turn out to be closed
        self._connected = False

    def has_room(self) -> bool:
        """Tell whether another request may be sent."""
        most = min(self.connection.remote_settings.max_concurrent_streams, MAX_STREAMS)
        return (
            not self.ended
            and len(self.streams) < most
            and self.connection.highest_outbound_stream_id < LAST_STREAM
        )

    def open(self, exchange: Exchange) -> None:
        """Give the exchange a stream of its own."""
        stream = UpstreamStream(self, exchange)
        self.streams[stream.stream_id] = stream
        exchange.connected = monotonic_ns()
        exchange.upstream = stream
        exchange.on_connected(stream)

    def forget(self, stream: UpstreamStream, code: ErrorCodes) -> None:
        """The stream's exchange is over; `code` is said to the instance if it goes on."""
        if self.streams.pop(stream.stream_id, None) is None:
            return
        if not (stream.output.ended and stream.input.ended):
            stream.output.drop()
            stream.input.ended = True
            self.reset(stream.stream_id, code)
        self.used = True
        self.idle_since = monotonic_ns()
        if not self.streams and self not in self.endpoint.sessions:
            self.close()

    # What the instance says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, and wait for the instance's settings."""
        super().connection_made(transport)
        self._connected = True
        self.idle_since = monotonic_ns()

    def on_settings(self) -> None:
        """The instance speaks HTTP/2."""
        if not self.ready.done():
            self.ready.set_result(None)

    def on_goaway(self, last: int, code: int) -> None:
        """Begin no more here; what the instance will not serve goes elsewhere if it may."""
        self.retire()
        reason = f"it closed the connection with the error code {code}"
        for stream in [stream for stream in self.streams.values() if stream.stream_id > last]:
            stream.refused(reason)
        if not self.streams:
            self.close()

    def on_event(self, event: Event, now: int) -> None:
        """Take what the instance sent."""
        if isinstance(event, DataReceived):
            self.receive(event.flow_controlled_length or 0)
        stream = self.streams.get(getattr(event, "stream_id", 0))
        if stream is None or stream.exchange is None:
            return
        match event:
            case InformationalResponseReceived():
                stream.on_informational(event)
            case ResponseReceived():
                stream.on_response(event)
            case DataReceived():
                stream.on_data(event.data or b"", event.flow_controlled_length or 0)
            case TrailersReceived():
                stream.on_trailers(event)
            case StreamEnded():
                stream.on_end()
            case StreamReset():
                stream.on_reset(event)

    # The end.

    def retire(self) -> None:
        """Take no more requests."""
        if self in self.endpoint.sessions:
            self.endpoint.sessions.remove(self)

    def discard(self) -> None:
        """Let go of a connection that has not come about."""
        self.ready.cancel()
        if self._connected:
            self.abort()

    def lose(self, problem: Problem) -> None:
        """Close at once; what is under way fails."""
        self.abort()
        self._fail_streams(problem)

    def abort(self) -> None:
        """Close at once."""
        self.retire()
        super().abort()

    def close(self) -> None:
        """Close; what is under way fails."""
        self.retire()
        super().close()
        self._fail_streams(bad_response("it broke the rules of HTTP/2"))

    def connection_lost(self, error: Exception | None) -> None:
        """The instance closed the connection, or we did."""
        self.ended = True
        self.retire()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(str(error) if error else NOT_HTTP2))
        reason = f": {error}." if error else "."
        detail = f"The instance {self.endpoint.id} closed the connection before it had answered"
        for stream in list(self.streams.values()):
            exchange = stream.exchange
            if self.used and exchange is not None and exchange.is_repeatable():
                stream.again()  # it may have been closed while it was idle
        self._fail_streams(Problem(502, "instance-closed", detail + reason))

    def _fail_streams(self, problem: Problem) -> None:
        for stream in list(self.streams.values()):
            stream.fail(problem)
        self.streams.clear()


class UpstreamStream(Upstream):
    """One request to an instance and its response."""

    __slots__ = (
        "_body_sent",
        "_informational",
        "_left",
        "_trailers",
        "exchange",
        "input",
        "output",
        "session",
        "stream_id",
    )

    def __init__(self, session: UpstreamSession, exchange: Exchange) -> None:
        self.session = session
        self.exchange: Exchange | None = exchange
        self.stream_id = session.connection.get_next_available_stream_id()
        self.output = Output(session, self.stream_id, self)
        self.input = Input(session, self.stream_id)
        self._body_sent = False  # a part of the body went out, and cannot be sent again
        self._informational = 0  # heads of 1xx so far
        self._left = -1  # bytes of the body that are to come; -1: any number
        self._trailers = b""

    # The request.

    def begin(self, exchange: Exchange) -> None:
        """Send the request's head."""
        fields = exchange.fields
        block = exchange.fields.block + exchange.own_fields()
        headers = request_headers(exchange.method, exchange.target, fields.host, block)
        self.output.send_headers(headers, end=fields.length == 0)

    def send(self, data: bytes) -> None:
        """Send a part of the request's body."""
        self._body_sent = True
        self.output.send(data)

    def request_outlet(self) -> None:
        """All goes by `send`: into frames."""

    def end(self, trailers: bytes) -> None:
        """End the request's body."""
        self.output.finish(parse_block(trailers))

    def abort(self) -> None:
        """Give up the request; the connection and its other requests go on."""
        self.exchange = None
        self.session.forget(self, ErrorCodes.CANCEL)

    def pause_reading(self) -> None:
        """Stop taking the response."""
        self.input.hold()

    def resume_reading(self) -> None:
        """Take the response again."""
        self.input.release()

    def on_output_full(self) -> None:
        """The instance does not keep up with the request's body."""
        if self.exchange is not None:
            self.exchange.on_upstream_full()

    def on_output_room(self) -> None:
        """The instance takes more."""
        if self.exchange is not None:
            self.exchange.on_upstream_ready()

    def on_output_ended(self) -> None:
        """The request is handed over whole."""

    # The response.

    def on_informational(self, event: InformationalResponseReceived) -> None:
        """Pass on a 1xx."""
        self._informational += 1
        try:
            if self._informational > MAX_INFORMATIONAL:
                raise Malformed(f"it sent more than {MAX_INFORMATIONAL} heads of 1xx")
            head = read_response_headers(event.headers or [])
        except Malformed as error:
            self.refuse(str(error))
        else:
            if self.exchange is not None:
                self.exchange.on_informational(head)

    def on_response(self, event: ResponseReceived) -> None:
        """Pass on the response's head."""
        exchange = self.exchange
        assert exchange is not None
        try:
            head = read_response_headers(event.headers or [])
        except Malformed as error:
            self.refuse(str(error))
            return
        ended = event.stream_ended is not None
        if exchange.method == b"HEAD" or head.has_no_body:
            self._left = 0
        elif head.length >= 0:
            self._left = head.length
        if ended and self._left > 0:
            self.refuse(SHORT)
            return
        exchange.status = head.status
        if exchange.wants_fields:
            head = exchange.with_own_fields(head, monotonic_ns())
        exchange.on_response(head, b"", ended)
        if ended:
            self._complete()

    def on_data(self, data: bytes, size: int) -> None:
        """Pass on a part of the body; `size` is what it counts against the window."""
        if self._left >= 0 and data:
            self._left -= len(data)
            if self._left < 0:
                self.refuse("its body is longer than its Content-Length")
                return
        if self.exchange is not None and data:
            self.exchange.on_data(data)
        self.input.receive(size)

    def on_trailers(self, event: TrailersReceived) -> None:
        """Keep the trailers for the end, which comes with them."""
        try:
            self._trailers = read_trailers(event.headers or [])
        except Malformed as error:
            self.refuse(str(error))

    def on_end(self) -> None:
        """The response is whole."""
        if self._left > 0:  # its client would take the rest from the next answer
            self.refuse(SHORT)
        elif self.exchange is not None:
            self.exchange.on_end(self._trailers)
            self._complete()

    def _complete(self) -> None:
        exchange, self.exchange = self.exchange, None
        self.input.ended = True
        self.session.forget(self, ErrorCodes.NO_ERROR)
        if exchange is not None:
            exchange.complete(monotonic_ns())

    # What can go wrong.

    def on_reset(self, event: StreamReset) -> None:
        """The instance gave up the request."""
        self.output.drop()
        self.input.ended = True
        code = event.error_code
        if code == ErrorCodes.REFUSED_STREAM:
            self.refused("it refused the request")
        else:
            detail = f"The instance gave up the request with the HTTP/2 error code {code}."
            self.fail(Problem(502, "instance-reset", detail))

    def refused(self, reason: str) -> None:
        """The instance has not begun with the request: send it again if it is still all there."""
        exchange = self.exchange
        if exchange is None or self._body_sent or not self.again():
            self.fail(Problem(502, "instance-refused", f"The instance did not answer: {reason}."))

    def again(self) -> bool:
        """Send the request again on another connection, if nothing of an answer came."""
        exchange = self.exchange
        if exchange is None or exchange.status or self.session.endpoint.gone:
            return False
        if not exchange.may_retry():
            return False
        self.exchange = None
        exchange.upstream = None
        self.session.forget(self, ErrorCodes.CANCEL)
        self.session.endpoint.connect(exchange)
        return True

    def refuse(self, reason: str) -> None:
        """The answer is not HTTP: give up this request only."""
        self.fail(bad_response(reason))

    def fail(self, problem: Problem) -> None:
        """End the exchange with a problem."""
        exchange, self.exchange = self.exchange, None
        self.session.forget(self, ErrorCodes.CANCEL)
        if exchange is not None:
            exchange.fail(problem, monotonic_ns())
