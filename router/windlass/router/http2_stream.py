"""One request of a client that speaks HTTP/2: a stream of its connection, and an exchange.

Slots, retries and the instance's side are the exchange's and the upstream's concern.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from windlass.router.errors import Problem, bad_request
from windlass.router.exchange import CLIENT_GONE, Exchange, body_too_large
from windlass.router.grammar import Malformed
from windlass.router.http2_fields import (
    parse_block,
    problem_headers,
    read_request_headers,
    read_trailers,
    response_headers,
)
from windlass.router.http2_flow import Input, Output
from windlass.router.stall import MIN_PROGRESS, STALL_TIME, awaits_continue, body_timeout

if TYPE_CHECKING:
    from h2.events import RequestReceived, TrailersReceived

    from windlass.router.headers import Peer, ResponseHead
    from windlass.router.http2 import ClientSession
    from windlass.router.upstream import Upstream


class Stream(Exchange):
    """One request and its response."""

    __slots__ = (
        "_came",
        "_is_grpc",
        "_peer",
        "_taken",
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
        # Bytes at the last look for a stall; -1: not to be compared, the client was held back.
        self._came = self._taken = 0
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
                if not ended:
                    self._look_within(now + STALL_TIME)

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
        if self.pool is not None and 0 < self.fields.length != self.received:
            # h2 sees this but where trailers end the body. The instance would wait for the rest
            # and take it from another's request.
            problem = bad_request("Not a valid body: it is shorter than its Content-Length.")
            self.give_up(problem, monotonic_ns())
        elif self.upstream is not None and self.fields.length != 0:
            self.upstream.end(self._trailers)

    def on_connected(self, upstream: Upstream) -> None:
        """Send the request, with what is there of its body."""
        upstream.begin(self)
        if self.fields.length == 0 or self._is_too_large():
            return
        self.input.release()
        if self.granted != self.began:
            self._came = -1  # it had to wait
        if self._unsent:
            upstream.send(self._unsent)
            self._unsent = b""
        if self.input.ended:
            upstream.end(self._trailers)

    def _is_too_large(self) -> bool:
        limit = self.pool.max_body if self.pool is not None else 0
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
            self._taken = self.output.taken
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
        """The deadline is over, or it is time to look for a stall."""
        pool, ends = self.pool, now + STALL_TIME
        if pool is not None:
            ends = self.began + pool.timeout
        if not self._takes_answer():
            self.abandon(self.status, now)
            self.session.give_up(self, ErrorCodes.CANCEL)
        elif pool is not None and now >= ends:
            seconds = f"{pool.route.timeout:g}"
            detail = f"The request took longer than its revision's timeout of {seconds} s."
            self.give_up(Problem(504, "request-timeout", detail), now)
        elif not self._brings_body():
            self.give_up(body_timeout(), now)
        else:
            self.deadline = min(ends, now + STALL_TIME)

    def _look_within(self, moment: int) -> None:
        """Look for a stall at this moment at the latest."""
        if self.deadline > moment:
            self.deadline = moment
            self.session.watch(moment)

    def _takes_answer(self) -> bool:
        """Tell whether the client opens its windows for what it is to be sent."""
        if not (self.output.full or (self.pool is None and self.output.is_waiting)):
            return True
        before, self._taken = self._taken, self.output.taken
        return before < 0 or self._taken - before >= MIN_PROGRESS

    def _brings_body(self) -> bool:
        """Tell whether the client sends its body, as far as it is its turn."""
        if self.pool is None or self.input.ended or self.status or self._is_grpc:
            return True  # a call of gRPC is a talk, whose messages may be far apart
        before, self._came = self._came, self.received
        if self.input.held or self.upstream is None:
            self._came = -1
            return True
        if awaits_continue(self.fields.block, self.received):
            return True
        return before < 0 or self.received - before >= MIN_PROGRESS

    def end(self, now: int) -> None:
        """The client has given up the request."""
        self.output.drop()
        self.input.ended = True
        self._unsent = b""
        self.abandon(self.status or CLIENT_GONE, now)

    # Back-pressure.

    def on_upstream_full(self) -> None:
        """Hold the client back."""
        self._came = -1
        self.input.hold()

    def on_upstream_ready(self) -> None:
        """Take more of the client."""
        self.input.release()

    def on_output_full(self) -> None:
        """The client does not keep up with the response."""
        self._taken = -1
        self._look_within(monotonic_ns() + STALL_TIME)
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
