"""When a client that sends or reads too slowly is given up, and how that is seen."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING, Final

from windlass.router.errors import Problem
from windlass.router.pool import SECOND

if TYPE_CHECKING:
    import asyncio

# A client that owes a body, or an answer's reading, must bring or take so much in each such time.
# Looked at once in that time, so it costs nothing while bytes pass. nginx allows 60 s without any
# byte, Kestrel 5 s under 240 bytes a second.
STALL_TIME: Final = 30 * SECOND  # ns
MIN_PROGRESS: Final = 1024  # bytes
# Bytes that the kernel takes for a client and has not sent: without a limit, megabytes for each one
# that does not read. What is on its way is not limited. A client gets the lower limit until it has
# taken what waited for it.
FIRST_UNSENT: Final = 16 * 1024
MAX_UNSENT: Final = 128 * 1024

_INT = bytes(4)


def awaits_continue(block: bytes, received: int) -> bool:
    """Tell whether a client may wait for a 100 before it sends its body."""
    return not received and b"\r\nExpect: 100-continue\r\n" in block


def body_timeout() -> Problem:
    """Return the problem of a body that does not come."""
    seconds = STALL_TIME // SECOND
    detail = f"Less than {MIN_PROGRESS} bytes of the body came within {seconds} s."
    return Problem(408, "body-timeout", detail)


def limit_unsent(transport: asyncio.Transport, limit: int) -> None:
    """Limit the bytes that the kernel takes for a client and has not sent."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # closed meanwhile
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limit)


def unread(transport: asyncio.Transport) -> int:
    """Return the bytes written to a client that its machine has not taken: ours and the kernel's.

    What we hold alone says little: the kernel takes more of it in steps of megabytes.
    """
    held = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # closed meanwhile
            (queued,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, _INT))
            held += queued
    return held
