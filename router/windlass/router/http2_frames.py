"""HTTP/2 frames as they come: cut apart, and counted against floods.

Pure: what frames mean is the concern of h2.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFACE_LINE = b"PRI * HTTP/2.0\r\n"
PREFACE = PREFACE_LINE + b"\r\nSM\r\n\r\n"
MAX_FRAME = 16 * 1024  # bytes of a frame's payload: what a peer may send unless told otherwise
MAX_BLOCK = 32 * 1024  # bytes of a header block as it is on the wire
MAX_CONTINUATIONS = 8  # frames of one header block behind its first
MAX_TABLE = 4096  # bytes of fields that are remembered for the peer, and by it
# Bytes of a header list beyond its block (twice, as Huffman's code makes 8 bits of 5 at least) and
# what the table may hold: HPACK's own table is less than that.
TABLE_OF_HPACK = 1024

# Frame types and flags of RFC 9113 section 6.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4

_HEAD = struct.Struct(">BHBBI")
_GOAWAY = struct.Struct(">II")
_SECOND = 1_000_000_000  # ns


class Frame(NamedTuple):
    """One whole frame."""

    kind: int
    flags: int
    length: int  # bytes of its payload
    raw: bytes  # with its nine bytes of head


class FrameTooLarge(Exception):
    """A frame is over MAX_FRAME."""


class Flood(Exception):
    """A peer sends so much of what costs it nothing that it can only mean harm."""


class FrameReader:
    """Cuts a connection's bytes into frames; what is not whole waits, at most MAX_FRAME bytes."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now.

        Raises:
            FrameTooLarge: by its head, the next frame is.
        """
        data = self._buffer + data if self._buffer else data
        at = 0
        while len(data) - at >= _HEAD.size:
            high, low, kind, flags, _ = _HEAD.unpack_from(data, at)
            length = high << 16 | low
            if length > MAX_FRAME:
                raise FrameTooLarge
            end = at + _HEAD.size + length
            if end > len(data):
                break
            raw = data[at:end]
            at = end
            yield Frame(kind, flags, length, raw)
        self._buffer = data[at:]


class Allowance:
    """A number of frames that is used up and comes back with time (a token bucket)."""

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, most: int, per_second: int) -> None:
        self._most, self._per_second = most, per_second
        self._left = float(most)
        self._at = 0

    def use(self, now: int) -> bool:
        """Use one up; return False if there is none."""
        passed = (now - self._at) / _SECOND
        self._left = min(self._left + passed * self._per_second, self._most)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class FloodGuard:
    """Counts one connection's frames that are cheap to send and not to receive.

    Numbers are far above what clients in use send: gRPC's bandwidth probes are ten PINGs a second,
    and a client may give up hundreds of requests at once when its deadlines pass.
    """

    __slots__ = ("_block", "_continuations", "_empty", "_other", "_pings", "_resets", "_settings")

    def __init__(self) -> None:
        self._resets = Allowance(400, 100)
        self._pings = Allowance(100, 20)
        self._settings = Allowance(20, 2)
        self._empty = Allowance(100, 20)
        self._other = Allowance(1000, 200)  # PRIORITY, GOAWAY, and types that nobody knows
        self._block = 0  # bytes of the header block that is coming
        self._continuations = 0

    def count(self, frame: Frame, now: int) -> None:
        """Count a frame.

        Raises:
            Flood: it is one too many.
        """
        kind, flags = frame.kind, frame.flags
        if kind == DATA:
            if not frame.length and not flags & END_STREAM:
                _take(self._empty, now, "empty DATA frames")
        elif kind == HEADERS:
            self._block, self._continuations = frame.length, 0
        elif kind == CONTINUATION:
            self._count_continuation(frame)
        elif kind == RST_STREAM:
            self.count_reset(now)
        elif kind == PING:
            if not flags & ACK:
                _take(self._pings, now, "PING frames")
        elif kind == SETTINGS:
            if not flags & ACK:
                _take(self._settings, now, "SETTINGS frames")
        elif kind != WINDOW_UPDATE:
            _take(self._other, now, f"frames of type {kind}")

    def count_reset(self, now: int) -> None:
        """Count a stream that either side gave up; raises as `count`."""
        _take(self._resets, now, "reset streams")

    def check_list(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Check the header list that the last block became.

        Raises:
            Flood: it names what the table holds again and again, a byte for thousands.
        """
        size = sum(len(name) + len(value) for name, value in headers)
        if size > 2 * self._block + MAX_TABLE + TABLE_OF_HPACK:
            raise Flood("a header list that is far larger than its block")

    def _count_continuation(self, frame: Frame) -> None:
        self._block += frame.length
        self._continuations += 1
        if self._block > MAX_BLOCK or self._continuations > MAX_CONTINUATIONS:
            raise Flood("a header block that does not end")


def read_goaway(frame: Frame) -> tuple[int, int]:
    """Return the last stream that the peer serves, and its error code."""
    if frame.length < _GOAWAY.size:
        return 0, 1  # PROTOCOL_ERROR
    last, code = _GOAWAY.unpack_from(frame.raw, _HEAD.size)
    return last & 0x7FFFFFFF, code


def _take(allowance: Allowance, now: int, what: str) -> None:
    if not allowance.use(now):
        raise Flood(f"too many {what}")
