"""How a response's head is written for an HTTP/1 client, by its version and its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from windlass.router.headers import UNTIL_CLOSE

if TYPE_CHECKING:
    from windlass.router.headers import ResponseHead


class Composed(NamedTuple):
    """A head, and what follows from it."""

    head: bytes
    in_chunks: bool  # the body goes out in chunks
    keep: bool  # the connection can serve another request


def compose(head: ResponseHead, method: bytes, minor: int, keep: bool) -> Composed:
    """Return the head for a client of HTTP/1.`minor` whose connection is kept if it can be."""
    has_body = not (method == b"HEAD" or head.has_no_body)
    length_is_unknown = head.length < 0
    framing = head.framing
    if length_is_unknown and (minor == 0 or (head.length == UNTIL_CLOSE and not has_body)):
        framing = b""
    if length_is_unknown and has_body and minor == 0:
        keep = False  # nothing but the connection's end can say where the body ends
    connection = connection_field(minor, keep)
    in_chunks = length_is_unknown and has_body and minor == 1
    return Composed(head.line + head.block + framing + connection + b"\r\n", in_chunks, keep)


def connection_field(minor: int, keep: bool) -> bytes:
    """Return the Connection field, empty where it says what holds anyway."""
    if not keep:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if minor == 0 else b""
