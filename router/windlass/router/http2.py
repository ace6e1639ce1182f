"""HTTP/2 with prior knowledge from clients: one connection, each of its streams an exchange."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived

from windlass.router.headers import Peer
from windlass.router.http2_session import ALL_STREAMS, MAX_STREAMS, Session
from windlass.router.http2_stream import Stream
from windlass.router.pool import SECOND
from windlass.router.stall import MAX_UNSENT, MIN_PROGRESS, STALL_TIME, limit_unsent, unread

if TYPE_CHECKING:
    import asyncio

    from h2.events import Event

    from windlass.router.dispatch import Dispatch

IDLE_TIME = 75 * SECOND
DRAIN_TIME = SECOND  # ns in which requests may still come that were sent before the GOAWAY was seen


class ClientSession(Session):
    """A client's connection."""

    _peer: Peer

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(client_side=False)
        self.dispatch = dispatch
        self.deadline = 0
        self._idle_until = 0  # moment at which a connection without streams ends
        self._look_at = 0  # moment at which to see whether the client reads; 0: it keeps up
        self._unread = -1  # bytes at the last such look
        self.streams: dict[int, Stream] = {}
        self._last_begun = 0  # moment at which the last request came
        self._ending = False  # a GOAWAY was said or heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        limit_unsent(self._transport, MAX_UNSENT)  # all its streams wait in the one buffer
        self._peer = Peer.of(self._transport)
        now = monotonic_ns()
        self._end_idle_at(now + IDLE_TIME)
        self.dispatch.clients.add(self)
        if self.dispatch.draining:
            self.drain(now, now + DRAIN_TIME, patient=True)

    def on_event(self, event: Event, now: int) -> None:
        """Take what the client sent."""
        match event:
            case RequestReceived():
                self.guard.check_list(event.headers or ())
                self._open(event, now)
            case DataReceived():
                self.receive(event.flow_controlled_length or 0)
                if stream := self.streams.get(event.stream_id or 0):
                    stream.on_body(event.data or b"", event.flow_controlled_length or 0)
            case TrailersReceived():
                self.guard.check_list(event.headers or ())
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
            self._end_idle_at(now + (DRAIN_TIME if self._ending else IDLE_TIME))

    def _end_idle_at(self, moment: int) -> None:
        self._idle_until = moment
        self.deadline = min(moment, self._look_at or moment)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._unread = -1
        self._look_at = monotonic_ns() + STALL_TIME
        self.watch(self._look_at)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._look_at = 0
        super().resume_writing()

    def _reads(self, now: int) -> bool:
        """Tell whether the client takes what was written; look again while it does not keep up."""
        if not self._look_at or now < self._look_at:
            return True
        before, self._unread = self._unread, unread(self._transport)
        self._look_at = now + STALL_TIME
        return before < 0 or before - self._unread >= MIN_PROGRESS

    # The connection's end.

    def expire(self, now: int) -> None:
        """A deadline may be over: that of a stream, or of the idle connection."""
        if self.ended or not self._reads(now):
            self.deadline = 0
            self.abort()
            return
        for stream in [stream for stream in self.streams.values() if stream.deadline <= now]:
            stream.expire(now)
        if self.streams:
            next_one = min(stream.deadline for stream in self.streams.values())
            self.deadline = min(next_one, self._look_at or next_one)
        elif self._idle_until <= now:
            self.send_goaway(self.connection.highest_inbound_stream_id)
            self.close()
        else:
            self._end_idle_at(self._idle_until)

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""
        return not self.streams

    def drain(self, now: int, until: int, *, patient: bool) -> None:
        """Say that the connection ends, serve what comes until the client has seen it."""
        if self._ending or self.ended:
            return
        self._ending = True
        self.send_goaway(ALL_STREAMS)
        if not self.streams:
            recent = self._last_begun > now - DRAIN_TIME
            self._end_idle_at(min(until, now + DRAIN_TIME) if recent or patient else now)

    def on_goaway(self, last: int, code: int) -> None:
        """The client begins no more: what is under way is finished."""
        self._ending = True
        self._note_idle(monotonic_ns())

    def close(self) -> None:
        """Close; nobody waits for an answer any more."""
        super().close()
        self.deadline = monotonic_ns() + STALL_TIME  # to take what was said last
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
