"""Passes large bodies from one connection to another within the kernel, by splice(2).

Only on Linux, and only what goes on as it comes: no chunks, no TLS, no HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from typing import Final, Protocol

BULK: Final = 256 * 1024  # bytes of a body from which on its connection is read by a BulkReader
MIN: Final = 64 * 1024  # bytes to come for which it is worth a splice
CAN_SPLICE: Final = sys.platform == "linux"
PIPE: Final = 256 * 1024  # bytes in the pipe, which a transport may have to keep
FIRST: Final = 32 * 1024  # bytes moved at once to a client that may be a slow reader
_GROWTH: Final = 4  # times as many after each time that all went
_TURN: Final = 1024 * 1024  # bytes after which it is another connection's turn
_FLAGS: Final = os.SPLICE_F_NONBLOCK if CAN_SPLICE else 0
_HEAD: Final = 8 * 1024  # bytes that are read before what follows them is spliced


class Bulky(Protocol):
    """A connection that may bring a large body: an asyncio.Protocol, and what is needed for it."""

    def awaits_bulk(self) -> bool:
        """Tell whether a large body comes next, or the head before one."""

    def way_on(self) -> tuple[asyncio.Transport, int] | None:
        """Return where bytes of the body go as they are, and how many are to come.

        None: what comes is to be looked at, or is too little.
        """

    def passed(self, size: int) -> None:
        """So many bytes of the body went there."""

    def data_received(self, data: bytes) -> None:
        """Look at what came."""

    def eof_received(self) -> None:
        """The other side has nothing more to say."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""

    def pause_writing(self) -> None:
        """What was written waits."""

    def resume_writing(self) -> None:
        """What was written is gone."""


class Pipe:
    """The one pipe that all bodies of a worker go through; empty between two calls."""

    __slots__ = ("_into", "_out")

    def __init__(self) -> None:
        self._out = self._into = -1

    def pass_on(
        self, source: int, outlet: asyncio.Transport, limit: int, piece: int
    ) -> tuple[int, int]:
        """Move what a socket has to a transport that has nothing to write.

        At most `piece` at once, more after each time that all went. Return the bytes, and the next
        call's `piece`; 0 if the transport had to keep some.
        """
        if self._out < 0:
            self._open()
        target = outlet.get_extra_info("socket").fileno()
        passed = 0
        left = min(limit, _TURN)
        while left:
            try:
                taken = os.splice(source, self._into, min(left, piece), flags=_FLAGS)
            except OSError:  # nothing there, or the next read will say what is wrong
                break
            if not taken:
                break
            passed += taken
            left -= taken
            if not self._empty(taken, target, outlet):
                return passed, 0
            piece = min(_GROWTH * piece, PIPE)
        return passed, piece

    def _empty(self, size: int, target: int, outlet: asyncio.Transport) -> bool:
        """Move what is in the pipe to a socket; False: its transport had to keep some of it."""
        try:
            while size:
                size -= os.splice(self._out, target, size, flags=_FLAGS)
            return True
        except OSError:  # it takes no more, or its transport's write will say what is wrong
            rest = os.read(self._out, size)
            size -= len(rest)
            outlet.set_write_buffer_limits(0)  # no more is to come while it keeps any
            outlet.write(rest)
            return False
        finally:
            if size:  # nothing of one body may ever come before another one
                os.close(self._out)
                os.close(self._into)
                self._out = self._into = -1

    def _open(self) -> None:
        self._out, self._into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # this user has many pipes: a small one will do
            fcntl.fcntl(self._into, fcntl.F_SETPIPE_SZ, PIPE)


_pipe: Final = Pipe()
# All connections read into the same bytes: each is done with them before the next one reads.
_view: Final = memoryview(bytearray(256 * 1024))
_small_view: Final = _view[:_HEAD]


class BulkReader(asyncio.BufferedProtocol):
    """Reads for a connection from its first large body on."""

    __slots__ = ("_bulky", "_first", "_piece", "_socket", "_transport")

    def __init__(self, bulky: Bulky, transport: asyncio.Transport, first: int) -> None:
        self._bulky = bulky
        self._transport = transport
        self._first = first  # bytes of a body that are moved at once at its begin
        self._piece = first  # and now
        self._socket = int(transport.get_extra_info("socket").fileno())

    @classmethod
    def take_over(cls, bulky: Bulky, transport: asyncio.Transport, first: int) -> None:
        """Read for a connection from now on.

        `first`: bytes at once, to begin with, for those that it writes to.
        """
        reading = transport.is_reading()
        transport.pause_reading()  # uvloop looks at how its protocol reads when it starts to
        transport.set_protocol(cls(bulky, transport, first))
        if reading:
            transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return what to read into: little, where the rest can be spliced.

        It must not be spliced yet: libuv allows nothing here that might stop the reading.
        """
        return _small_view if self._bulky.awaits_bulk() else _view

    def buffer_updated(self, nbytes: int) -> None:
        """Let the connection look at what came, and pass on what is behind it."""
        bulky = self._bulky
        bulky.data_received(bytes(_view[:nbytes]))
        way = bulky.way_on()
        if way is None:
            self._piece = self._first  # the next body may go to another one
            return
        if self._transport.is_closing() or not self._transport.is_reading():
            return
        outlet, limit = way
        if not outlet.is_closing() and not outlet.get_write_buffer_size():
            size, piece = _pipe.pass_on(self._socket, outlet, limit, self._piece)
            self._piece = piece if piece and size < limit else self._first
            if size:
                bulky.passed(size)

    def eof_received(self) -> None:
        """Tell the connection."""
        self._bulky.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection."""
        self._bulky.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the connection."""
        self._bulky.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection."""
        self._bulky.resume_writing()
