"""When an instance may make a connection a tunnel: only as asked for, and provably. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from windlass.router.grammar import Malformed

if TYPE_CHECKING:
    from windlass.router.headers import RequestFields, ResponseHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY = re.compile(rb"^sec-websocket-key: ([^\r]*)\r$", re.IGNORECASE | re.MULTILINE)
_ACCEPT = re.compile(rb"^sec-websocket-accept: ([^\r]*)\r$", re.IGNORECASE | re.MULTILINE)


def check_switch(request: RequestFields, response: ResponseHead) -> None:
    """Check that a 101 is the answer to this request.

    Raises:
        Malformed: it is not: nobody asked for this protocol, or the instance has not read the key.
    """
    if not request.upgrade or response.upgrade != request.upgrade:
        raise Malformed("it switched to a protocol that was not asked for")
    if request.upgrade == b"websocket":
        keys, accepts = _KEY.findall(request.block), _ACCEPT.findall(response.block)
        if len(keys) != 1 or accepts != [websocket_accept(keys[0])]:
            raise Malformed("its Sec-WebSocket-Accept does not fit the request's key")


def websocket_accept(key: bytes) -> bytes:
    """Return what proves that a server has read the key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
