"""An instance that speaks HTTP/2: answers each request with the handler of its path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable


class Request:
    """A request as it came so far."""

    def __init__(self, peer: Peer, stream: int, headers: dict[str, str]) -> None:
        self.peer, self.stream, self.headers = peer, stream, headers
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.was_reset = False

    def answer(self, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        """Answer whole."""
        self.head(*fields, status=status, end=not body)
        if body:
            self.peer.connection.send_data(self.stream, body, end_stream=True)
        self.peer.flush()

    def head(self, *fields: tuple[str, str], status: int = 200, end: bool = False) -> None:
        headers = [(":status", str(status)), *fields]
        self.peer.connection.send_headers(self.stream, headers, end_stream=end)
        self.peer.flush()

    def data(self, data: bytes) -> None:
        self.peer.connection.send_data(self.stream, data)
        self.peer.flush()

    def finish(self, *trailers: tuple[str, str]) -> None:
        self.peer.connection.send_headers(self.stream, trailers, end_stream=True)
        self.peer.flush()

    def reset(self, code: int) -> None:
        self.peer.connection.reset_stream(self.stream, code)
        self.peer.flush()


class Peer(asyncio.Protocol):
    """One connection of the router."""

    transport: asyncio.Transport

    def __init__(self, origin: Http2Origin) -> None:
        self.origin = origin
        config = H2Configuration(client_side=False, header_encoding="ascii")
        self.connection = H2Connection(config)
        self.requests: dict[int, Request] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.origin.peers.append(self)
        self.connection.initiate_connection()
        self.connection.update_settings(self.origin.settings)
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.connection.receive_data(data):
                self._take(event)
        except ProtocolError as error:
            self.origin.broken.append(error)
        self.flush()

    def _take(self, event: object) -> None:
        match event:
            case RequestReceived():
                headers = {str(name): str(value) for name, value in event.headers or ()}
                stream = event.stream_id or 0
                request = self.requests[stream] = Request(self, stream, headers)
                self.origin.requests.append(request)
            case DataReceived():
                request = self.requests[event.stream_id or 0]
                request.body += event.data or b""
                if self.origin.reads_body:
                    size = event.flow_controlled_length or 0
                    self.connection.acknowledge_received_data(size, request.stream)
            case TrailersReceived():
                trailers = {str(name): str(value) for name, value in event.headers or ()}
                self.requests[event.stream_id or 0].trailers = trailers
            case StreamEnded():
                request = self.requests[event.stream_id or 0]
                request.ended = True
                self.origin.handlers[request.headers[":path"]](request)
            case StreamReset():
                self.requests[event.stream_id or 0].was_reset = True

    def flush(self) -> None:
        self.transport.write(self.connection.data_to_send())

    def close(self) -> None:
        self.transport.close()


class Http2Origin:
    """Its connections and requests, in their order."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[Request], None]] = {}
        self.peers: list[Peer] = []
        self.requests: list[Request] = []
        self.broken: list[ProtocolError] = []
        self.settings: dict[int, int] = {}
        self.reads_body = True
        self.port = 0
