"""An HTTP/2 client for tests that says what it is told to, and remembers what it hears."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from windlass.router.http2_frames import GOAWAY, FrameReader, read_goaway

if TYPE_CHECKING:
    from collections.abc import Callable

Header = tuple[str, str]


class Http2Client:
    """One connection; `events` by stream, 0 for the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = H2Configuration(
            client_side=True,
            header_encoding="ascii",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.connection = H2Connection(config)
        self.events: dict[int, list[Event]] = defaultdict(list)
        self.reads_body = True  # opens its windows again
        self.closed = False
        self.goaways: list[tuple[int, int]] = []  # last stream and code of each
        self._frames = FrameReader()
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, port: int) -> Http2Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.connection.initiate_connection()
        client.flush()
        return client

    def flush(self) -> None:
        self.writer.write(self.connection.data_to_send())

    def request(
        self,
        path: str,
        *fields: Header,
        method: str = "GET",
        host: str = "hello.localhost",
        end: bool = True,
    ) -> int:
        stream = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
        self.connection.send_headers(stream, [*head, *fields], end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.connection.send_data(stream, data, end_stream=end)
        self.flush()

    async def hears(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(condition)

    async def response(self, stream: int) -> tuple[int, bytes]:
        """Return status and body of a response that ends."""
        await self.hears(lambda: self.has(stream, StreamEnded) or self.has(stream, StreamReset))
        assert self.has(stream, StreamEnded), self.events[stream]
        return int(self.head(stream)[":status"]), self.body(stream)

    def has(self, stream: int, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events[stream])

    def head(self, stream: int) -> dict[str, str]:
        return next(
            {str(name): str(value) for name, value in event.headers}
            for event in self.events[stream]
            if isinstance(event, ResponseReceived)
        )

    def informational(self, stream: int) -> list[dict[str, str]]:
        return [
            {str(name): str(value) for name, value in event.headers}
            for event in self.events[stream]
            if isinstance(event, InformationalResponseReceived)
        ]

    def trailers(self, stream: int) -> dict[str, str]:
        return next(
            {str(name): str(value) for name, value in event.headers}
            for event in self.events[stream]
            if isinstance(event, TrailersReceived)
        )

    def body(self, stream: int) -> bytes:
        return b"".join(
            event.data or b"" for event in self.events[stream] if isinstance(event, DataReceived)
        )

    def reset_code(self, stream: int) -> int:
        return next(
            int(event.error_code or 0)
            for event in self.events[stream]
            if isinstance(event, StreamReset)
        )

    async def goaway(self) -> int:
        """Return the code of the last GOAWAY once the connection is closed."""
        await self.hears(lambda: self.closed)
        return self.goaways[-1][1]

    async def close(self) -> None:
        self.writer.close()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(65536):
                async with self._news:
                    self._take(data)
                    self._news.notify_all()
        except (ConnectionError, ProtocolError):
            pass
        finally:
            async with self._news:
                self.closed = True
                self._news.notify_all()

    def _take(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            if frame.kind == GOAWAY:  # h2 would end all streams
                self.goaways.append(read_goaway(frame))
                continue
            for event in self.connection.receive_data(frame.raw):
                self.events[getattr(event, "stream_id", None) or 0].append(event)
                if isinstance(event, DataReceived) and self.reads_body:
                    size, stream = event.flow_controlled_length or 0, event.stream_id or 0
                    self.connection.acknowledge_received_data(size, stream)
        self.flush()
