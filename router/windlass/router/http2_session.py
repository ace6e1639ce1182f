"""What both ends of HTTP/2 share: a connection's bytes, its window, and its streams' turns.

The frames' state machine is h2's. Requests, responses and slots are not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RemoteSettingsChanged, WindowUpdated
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from windlass.router.http2_flow import MAX_TURN, STREAM_WINDOW
from windlass.router.http2_frames import (
    GOAWAY,
    MAX_TABLE,
    PREFACE,
    Flood,
    FloodGuard,
    FrameReader,
    FrameTooLarge,
    read_goaway,
)
from windlass.router.http2_hpack import KnowingDecoder, PlainEncoder

if TYPE_CHECKING:
    from h2.events import Event

    from windlass.router.http2_flow import Output

MAX_STREAMS = 100  # at a time on one connection
MAX_HEADER_LIST = 32 * 1024  # bytes as SETTINGS_MAX_HEADER_LIST_SIZE counts them
CONNECTION_WINDOW = 1024 * 1024
# Bytes written that the peer does not take from which on nothing more is read of it: heads, and
# answers to its frames, obey no window.
MAX_UNTAKEN = 512 * 1024
ALL_STREAMS = (1 << 31) - 1  # last stream of a GOAWAY that refuses nothing yet


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = 1024  # remembered ones; h2's own 65536 would be megabytes


class Session(asyncio.Protocol, ABC):
    """One HTTP/2 connection."""

    _transport: asyncio.Transport

    def __init__(self, *, client_side: bool) -> None:
        self.connection = _new_connection(client_side)
        self.guard = FloodGuard()
        self.blocked: dict[int, Output] = {}  # outputs with something pending, in turn, by stream
        self.ended = False  # nothing is read or written any more
        self._frames = FrameReader()
        self._preface = b"" if client_side else PREFACE  # what of it is to come
        self._unacknowledged = 0  # bytes that count against the connection's window
        self._reading = True
        self._writable = True
        self._given = 0  # bytes handed to h2 since the last write
        self._write_is_due = False

    # What each end implements.

    @abstractmethod
    def on_event(self, event: Event, now: int) -> None:
        """Take what h2 has made of a frame."""

    def on_settings(self) -> None:
        """The peer's settings came."""

    @abstractmethod
    def on_goaway(self, last: int, code: int) -> None:
        """The peer will serve (or open) no stream above `last`."""

    # Bytes in.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self.connection.initiate_connection()
        # What was announced holds from now on but for this: streams above it are refused one by
        # one, where h2 would end the connection.
        self.connection.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 10 * MAX_STREAMS
        self.connection.local_settings.acknowledge()
        self.connection.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        self.write_soon()

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self._preface:
            data = self._read_preface(data)
        now = monotonic_ns()
        try:
            for frame in self._frames.feed(data):
                if self.ended:
                    return
                self.guard.count(frame, now)
                if frame.kind == GOAWAY:  # h2 would end all streams
                    self.on_goaway(*read_goaway(frame))
                    continue
                for event in self.connection.receive_data(frame.raw):
                    if isinstance(event, WindowUpdated):
                        self._flush_widened(event.stream_id or 0)
                    elif isinstance(event, RemoteSettingsChanged):
                        self._obey()
                    else:
                        self.on_event(event, now)
            self.write_soon()  # h2 may have answered a frame by itself
        except Flood:
            self.terminate(ErrorCodes.ENHANCE_YOUR_CALM)
        except FrameTooLarge:
            self.terminate(ErrorCodes.FRAME_SIZE_ERROR)
        except ProtocolError as error:
            self.terminate(error.error_code)

    def _obey(self) -> None:
        """Take on the peer's settings, but not a table for fields of whatever size it likes."""
        encoder = self.connection.encoder
        if encoder.header_table_size > MAX_TABLE:
            encoder.header_table_size = MAX_TABLE
        self.on_settings()
        self.flush_all()

    def _read_preface(self, data: bytes) -> bytes:
        size = min(len(self._preface), len(data))
        if data[:size] != self._preface[:size]:
            self.terminate(ErrorCodes.PROTOCOL_ERROR)
            return b""
        if size == len(self._preface):
            self.connection.receive_data(PREFACE)
        self._preface = self._preface[size:]
        return data[size:]

    def receive(self, size: int) -> None:
        """Note bytes that count against the connection's window: it is never what holds back, since
        one stream must not hold back another."""
        self._unacknowledged += size
        if self._unacknowledged >= CONNECTION_WINDOW // 2:
            self.connection.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
            self.write_soon()

    # Bytes out.

    def flush(self, output: Output) -> None:
        """Send of a stream what may be sent now; the rest waits for its turn."""
        if self._writable and not self.ended and self._given < MAX_TURN:
            self._given += output.give()
        if output.is_waiting:
            self.blocked[output.stream_id] = output
        else:
            self.blocked.pop(output.stream_id, None)

    def flush_all(self) -> None:
        """Send what may be sent now, the streams taking turns."""
        for stream_id in list(self.blocked):
            output = self.blocked.pop(stream_id, None)
            if output is not None:
                self.flush(output)

    def _flush_widened(self, stream_id: int) -> None:
        """Send what a wider window lets go; 0 is the window of the connection."""
        if not stream_id:
            self.flush_all()
        elif (output := self.blocked.pop(stream_id, None)) is not None:
            self.flush(output)

    def write_soon(self) -> None:
        """Write what there is at the end of this turn of the loop, as one piece."""
        if not self._write_is_due:
            self._write_is_due = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._write_is_due = False
        turn_was_full, self._given = self._given >= MAX_TURN, 0
        if self.ended:
            return
        if data := self.connection.data_to_send():
            self._transport.write(data)
        if self._reading and self._transport.get_write_buffer_size() > MAX_UNTAKEN:
            self._reading = False
            self._transport.pause_reading()
        if turn_was_full:
            self.flush_all()

    def pause_writing(self) -> None:
        """The peer does not read: hand over no more."""
        self._writable = False

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._writable = True
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
        self.flush_all()

    # The end.

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Give up a stream."""
        if not self.ended:
            with contextlib.suppress(StreamClosedError):  # it has ended by itself
                self.connection.reset_stream(stream_id, code)
            self.write_soon()

    def send_goaway(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Say that no stream above `last` is served; h2 would end those that are under way."""
        frame = GoAwayFrame(0, last_stream_id=last, error_code=code)
        self._transport.write(self.connection.data_to_send() + frame.serialize())

    def terminate(self, code: ErrorCodes) -> None:
        """End the connection for an error of the peer's."""
        if self.ended:
            return
        last = self.connection.highest_inbound_stream_id
        self.connection.clear_outbound_data_buffer()
        self.send_goaway(last, code)
        self.close()

    def close(self) -> None:
        """Close once all is written that was said."""
        if not self.ended:
            self.ended = True
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.ended = True
        self._transport.abort()


def _new_connection(client_side: bool) -> _Connection:
    # Fields are checked by the rules of `http2_fields`, which answer for one stream, not for all.
    config = H2Configuration(
        client_side=client_side,
        header_encoding=None,
        validate_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = _Connection(config)
    values = {
        SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        SettingCodes.ENABLE_PUSH: 0,
    }
    connection.local_settings = Settings(client=client_side, initial_values=values)
    connection.decoder = KnowingDecoder()
    connection.decoder.max_header_list_size = MAX_HEADER_LIST
    if client_side:
        connection.encoder = PlainEncoder()
    return connection
