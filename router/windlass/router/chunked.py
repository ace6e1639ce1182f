"""The chunked transfer coding, strictly as RFC 9112 section 7.1 has it; extensions are dropped."""

from __future__ import annotations

import re
from typing import Final

from windlass.router.grammar import HEAD_END, TOKEN, Malformed, has_bare_line_end, parse_fields

LAST_CHUNK: Final = b"0\r\n"
MAX_SIZE_LINE: Final = 1024  # bytes of a chunk's size and extensions
MAX_TRAILER: Final = 8192  # bytes of the trailer section
_MAX_SIZE: Final = 1 << 60

_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*"
)

# RFC 9110 6.5.1: what says where a message ends, who it is for or who sent it is no trailer.
NO_TRAILER: Final = frozenset(
    b"transfer-encoding content-length host connection keep-alive te trailer upgrade expect range "
    b"cache-control max-forwards pragma content-encoding content-type content-range authorization "
    b"proxy-authorization proxy-connection cookie set-cookie www-authenticate proxy-authenticate "
    b"age date expires location retry-after vary warning forwarded x-forwarded-for "
    b"x-forwarded-host x-forwarded-proto x-request-id traceparent tracestate http2-settings".split()
)


def is_trailer(name: bytes) -> bool:
    """Tell whether a field may be a trailer; the name is in any case."""
    return name.lower().replace(b"_", b"-") not in NO_TRAILER


class ChunkedBody:
    """Decodes one chunked body; feed it until `done`."""

    __slots__ = ("_expected", "_pending", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._pending = b""  # a size line, chunk end or trailer section that is not whole yet
        self._expected = -1  # bytes of the chunk that are to come; -1: a size line; -2: trailers
        self.done = False
        self.rest = b""  # what came behind the body
        self.trailers = b""  # trailer fields, each with its CRLF

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes that are in `data`.

        Raises:
            Malformed: this is not a chunked body.
        """
        if self._expected > 2 and len(data) <= self._expected - 2:
            self._expected -= len(data)  # the inside of a large chunk: as it is, not copied
            return data
        seen = len(self._pending)
        if seen:
            data, self._pending = self._pending + data, b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._expected > 0:
                at = self._read_chunk(data, at, pieces)
            elif self._expected == -1:
                at = self._read_size(data, at)
            else:
                at = self._read_trailers(data, at, seen)
        if self.done:
            self.rest = data[at:]
        return b"".join(pieces)

    def _read_chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read a chunk's bytes and the CRLF behind them; `_expected` counts both."""
        inside = min(self._expected - 2, len(data) - at)
        if inside > 0:
            pieces.append(data[at : at + inside])
            self._expected -= inside
            at += inside
        if self._expected > 2:
            return at
        end = data[at : at + self._expected]
        if end != b"\r\n"[2 - self._expected :][: len(end)]:
            raise Malformed("a chunk is longer than its size")
        self._expected = self._expected - len(end) or -1
        return at + len(end)

    def _read_size(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + MAX_SIZE_LINE + 2)
        if end < 0:
            line = data[at:]
            if len(line) > MAX_SIZE_LINE or b"\n" in line or b"\r" in line[:-1]:
                raise Malformed("a chunk's size line is too long or not ended by CRLF")
            self._pending = line
            return len(data)
        match = _SIZE_LINE.fullmatch(data, at, end)
        size = int(match[1], 16) if match else _MAX_SIZE
        if size >= _MAX_SIZE:
            raise Malformed("a chunk's size is not a hexadecimal number")
        self._expected = size + 2 if size else -2
        return end + 2

    def _read_trailers(self, data: bytes, at: int, seen: int) -> int:
        """Read the trailer section; its first `seen` bytes were looked at before."""
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        end = data.find(HEAD_END, max(at, seen - 3))
        if (end if end >= 0 else len(data)) - at > MAX_TRAILER:
            raise Malformed(f"the trailer section is longer than {MAX_TRAILER} bytes")
        if end < 0:
            if has_bare_line_end(data, max(at, seen)):
                raise Malformed("a line of the trailer section is not ended by CRLF")
            self._pending = data[at:]
            return len(data)
        self.trailers = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in parse_fields(data[at : end + 2])
            if is_trailer(name)
        )
        self.done = True
        return end + len(HEAD_END)


def encode_chunk(data: bytes) -> bytes:
    """Return the bytes as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
