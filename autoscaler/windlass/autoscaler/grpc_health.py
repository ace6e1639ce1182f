"""One call of gRPC's health protocol, as bytes to send and bytes that came; sockets are not known.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PushedStreamReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

SERVING = 1  # HealthCheckResponse.ServingStatus
MAX_ANSWER = 32 * 1024  # bytes of a whole connection; an answer takes a few hundred
MAX_VARINT = 10  # bytes
# Protobuf's wire types, without the groups that it has given up.
VARINT, TEXT = 0, 2
FIXED = {1: 8, 5: 4}  # bytes that follow


class HealthCall:
    """The call of Check on a connection of its own, and whether the service is healthy."""

    def __init__(self, service: str, authority: str) -> None:
        self.passed: bool | None = None  # None: the answer is not complete
        self._body = b""
        self._fields: dict[bytes, bytes] = {}  # of the answer's head and trailers
        self._received = 0  # bytes
        self._connection = H2Connection(H2Configuration(header_encoding=None))
        self._connection.initiate_connection()
        self._connection.send_headers(
            1,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/grpc.health.v1.Health/Check"),
                (":authority", authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ],
        )
        self._connection.send_data(1, framed(health_request(service)), end_stream=True)

    def outgoing(self) -> bytes:
        """Return what is to be sent next, to be asked before each wait."""
        return self._connection.data_to_send()

    def take(self, data: bytes) -> None:
        """Take what came, nothing at the connection's end."""
        self._received += len(data)
        try:
            events = self._connection.receive_data(data)
        except ProtocolError:
            self.passed = False
            return
        for event in events:
            if isinstance(event, ResponseReceived | TrailersReceived):
                self._fields.update(event.headers)
            elif isinstance(event, DataReceived):
                self._body += event.data
            elif isinstance(event, StreamEnded):
                self.passed = self._is_serving()
                return
            elif isinstance(event, StreamReset | ConnectionTerminated | PushedStreamReceived):
                self.passed = False
                return
        if not data or self._received > MAX_ANSWER:
            self.passed = False

    def _is_serving(self) -> bool:
        if self._fields.get(b":status") != b"200" or self._fields.get(b"grpc-status") != b"0":
            return False
        try:
            return serving_status(unframed(self._body)) == SERVING
        except ValueError:
            return False


def framed(message: bytes) -> bytes:
    """Return a message as it goes over the wire: not compressed, with its length before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframed(body: bytes) -> bytes:
    """Return the only message of a body.

    Raises:
        ValueError: it is not one whole message, or a compressed one, which nobody asked for.
    """
    message = body[5:]
    if body != framed(message):
        raise ValueError(f"a body of {len(body)} bytes is not one message")
    return message


def health_request(service: str) -> bytes:
    """Return a HealthCheckRequest in protobuf: the service's name is its field 1."""
    name = service.encode()
    return bytes([1 << 3 | TEXT]) + _varint(len(name)) + name if name else b""


def serving_status(message: bytes) -> int:
    """Return the field 1 of a HealthCheckResponse in protobuf, 0 (unknown) if it is not there.

    Raises:
        ValueError: it is not protobuf.
    """
    status, position = 0, 0
    while position < len(message):
        key, position = _read_varint(message, position)
        kind = key & 7
        if kind == VARINT:
            value, position = _read_varint(message, position)
            if key == 1 << 3 | VARINT:
                status = value
        elif kind == TEXT:
            length, position = _read_varint(message, position)
            position += length
        elif kind in FIXED:
            position += FIXED[kind]
        else:
            raise ValueError(f"a field has wire type {kind}")
    if position > len(message):
        raise ValueError("a field is cut off")
    return status


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, and where the next thing begins."""
    number = 0
    for index, byte in enumerate(message[position : position + MAX_VARINT]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, position + index + 1
    raise ValueError("a number is cut off")
