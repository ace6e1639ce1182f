"""What the router adds so that a request can be followed: ids, and where its time went. Pure."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from windlass.router.exchange import Exchange

_REQUEST_ID: Final = re.compile(rb"[\w.~:/+=-]{1,128}")
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_NUMBERS: Final = tuple(b"%03x" % number for number in range(4096))
_FLAGS: Final = b"-01\r\n"
_ENDS: Final = tuple(number + _FLAGS for number in _NUMBERS)
_NAME: Final = b"X-Request-Id: "
_LINE_END: Final = b"\r\n"
_MILLISECOND: Final = 1_000_000  # ns


def is_request_id(values: list[bytes]) -> bool:
    """Tell whether the X-Request-Id that came is one that can be passed on."""
    return len(values) == 1 and _REQUEST_ID.fullmatch(values[0]) is not None


def is_traceparent(values: list[bytes]) -> bool:
    """Tell whether a traceparent is one of W3C's Trace Context."""
    return len(values) == 1 and _TRACEPARENT.fullmatch(values[0]) is not None


class Ids:
    """Makes ids for requests that bring none: random for each 4096, and a number within them.

    Joining parts that are there costs a quarter of what writing numbers for each request does.
    """

    __slots__ = ("_count", "_id", "_span", "_trace")

    def __init__(self) -> None:
        self._count = 0
        self._renew()

    def fields(self, request_id: bytes, traced: bool) -> bytes:
        """Return X-Request-Id, the one that came or a new one, and a traceparent if none came.

        The flag 01 leaves the decision what to record to the service, as if nobody stood before it.
        """
        self._count = count = (self._count + 1) % len(_NUMBERS)
        if not count:
            self._renew()
        number, end = _NUMBERS[count], _ENDS[count]
        if request_id or traced:
            name = _NAME + request_id if request_id else self._id + number
            parent = _LINE_END if traced else self._trace + number + self._span + end
            return name + parent
        return b"%b%b%b%b%b%b" % (self._id, number, self._trace, number, self._span, end)

    def _renew(self) -> None:
        digits = secrets.token_hex(40).encode()
        self._id = _NAME + digits[:25]
        self._trace = b"\r\ntraceparent: 00-" + digits[25:54]
        self._span = b"-" + digits[54:67]


def server_timing(exchange: Exchange, now: int) -> bytes:
    """Return the Server-Timing field: milliseconds of each part up to the response's head."""
    started = exchange.cold_start()
    return b"Server-Timing: queue;dur=%.3f, start;dur=%.3f, connect;dur=%.3f, app;dur=%.3f\r\n" % (
        (exchange.granted - exchange.began - started) / _MILLISECOND,
        started / _MILLISECOND,
        (exchange.connected - exchange.granted) / _MILLISECOND,
        (now - exchange.connected) / _MILLISECOND,
    )


def cold_start(waited: int) -> bytes:
    """Return the field that says how many milliseconds a request waited for a start."""
    return b"Windlass-Cold-Start: %d\r\n" % -(-waited // _MILLISECOND)
