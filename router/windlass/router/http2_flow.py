"""What one stream of HTTP/2 sends and receives, as far as windows allow, and who is held back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from windlass.router.http2_fields import Header
    from windlass.router.http2_session import Session

STREAM_WINDOW = 128 * 1024  # bytes that a peer may send before they are taken on
MAX_PENDING = 64 * 1024  # bytes a stream waits to send from which on its source is held back
MAX_TURN = 256 * 1024  # bytes handed to h2 between two writes


class Source(Protocol):
    """Where what a stream sends comes from."""

    def on_output_full(self) -> None:
        """The peer does not keep up: bring no more."""

    def on_output_room(self) -> None:
        """The peer takes more."""

    def on_output_ended(self) -> None:
        """All is handed over, to the end of the stream."""


class Output:
    """What one stream sends, as far as the peer's windows allow."""

    __slots__ = (
        "_ending",
        "_trailers",
        "ended",
        "full",
        "pending",
        "session",
        "source",
        "stream_id",
        "taken",
    )

    def __init__(self, session: Session, stream_id: int, source: Source) -> None:
        self.session, self.stream_id, self.source = session, stream_id, source
        self.pending = bytearray()
        self.taken = 0  # bytes of the body that windows have allowed so far
        self.full = False
        self.ended = False  # END_STREAM is handed over, or the stream was reset
        self._ending = False
        self._trailers: list[Header] = []

    def send_headers(self, headers: list[Header], *, end: bool = False) -> None:
        """Send a head."""
        if self.ended:
            return
        self.session.connection.send_headers(self.stream_id, headers, end_stream=end)
        self.session.write_soon()
        if end:
            self._end()

    def send(self, data: bytes) -> None:
        """Send a part of the body, as soon as windows allow."""
        if self.ended or not data:
            return
        self.pending += data
        self.session.flush(self)
        if len(self.pending) > MAX_PENDING and not self.full:
            self.full = True
            self.source.on_output_full()

    def finish(self, trailers: list[Header]) -> None:
        """End the stream behind what is pending."""
        if self.ended:
            return
        self._ending, self._trailers = True, trailers
        self.session.flush(self)

    def drop(self) -> None:
        """Send nothing more: the stream was reset."""
        self.ended = True
        self.pending.clear()
        self.session.blocked.pop(self.stream_id, None)

    @property
    def is_waiting(self) -> bool:
        """Tell whether anything is left to be handed over."""
        return not self.ended and (self._ending or bool(self.pending))

    def give(self) -> int:
        """Hand over to h2 what windows allow; return the bytes of it."""
        connection, stream_id, pending = self.session.connection, self.stream_id, self.pending
        window = min(connection.local_flow_control_window(stream_id), len(pending), MAX_TURN)
        given = 0
        while given < window:
            piece = bytes(pending[given : min(given + connection.max_outbound_frame_size, window)])
            given += len(piece)
            connection.send_data(stream_id, piece)
        if given:
            self.taken += given
            del pending[:given]
            self.session.write_soon()
        if self._ending and not pending:
            if self._trailers:
                connection.send_headers(stream_id, self._trailers, end_stream=True)
            else:
                connection.end_stream(stream_id)
            self.session.write_soon()
            self._end()
        elif self.full and len(pending) <= MAX_PENDING // 2:
            self.full = False
            self.source.on_output_room()
        return given

    def _end(self) -> None:
        self.ended = True
        self.source.on_output_ended()


class Input:
    """What one stream receives: its window is opened again as the other side takes it on."""

    __slots__ = ("ended", "held", "session", "stream_id", "unacknowledged")

    def __init__(self, session: Session, stream_id: int) -> None:
        self.session, self.stream_id = session, stream_id
        self.ended = False  # END_STREAM came, or the stream was reset
        self.held = False
        self.unacknowledged = 0

    def receive(self, size: int) -> None:
        """Note bytes that count against the window."""
        self.unacknowledged += size
        if not self.held:
            self._acknowledge()

    def hold(self) -> None:
        """Open the window no further."""
        self.held = True

    def release(self) -> None:
        """Open the window again."""
        if self.held:
            self.held = False
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self.unacknowledged >= STREAM_WINDOW // 2 and not self.ended:
            session = self.session
            session.connection.increment_flow_control_window(self.unacknowledged, self.stream_id)
            self.unacknowledged = 0
            session.write_soon()
