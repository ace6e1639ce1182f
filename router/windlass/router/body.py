"""A request's body as it comes from an HTTP/1 client: where it ends, and how long it is."""

from __future__ import annotations

from windlass.router.chunked import ChunkedBody
from windlass.router.headers import CHUNKED


class RequestBody:
    """Reads one body; made only for requests that have one."""

    __slots__ = ("_chunks", "_left", "ended", "received", "rest")

    def __init__(self, length: int) -> None:
        self._chunks = ChunkedBody() if length == CHUNKED else None
        self._left = length
        self.ended = False
        self.received = 0  # bytes of the body so far
        self.rest = b""  # what came behind the body

    @property
    def trailers(self) -> bytes:
        """The trailer fields, each with its CRLF."""
        return self._chunks.trailers if self._chunks is not None else b""

    @property
    def passable(self) -> int:
        """Bytes to come that need no look."""
        return self._left if self._chunks is None else 0

    def passed(self, size: int) -> None:
        """Count bytes that need no look."""
        self._left -= size
        self.received += size

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes that are in `data`.

        Raises:
            Malformed: the chunks are broken.
        """
        chunks = self._chunks
        if chunks is not None:
            body = chunks.feed(data)
            self.ended, self.rest = chunks.done, chunks.rest
        else:
            body = data if len(data) <= self._left else data[: self._left]
            self._left -= len(body)
            if not self._left:
                self.ended, self.rest = True, data[len(body) :]
        self.received += len(body)
        return body
