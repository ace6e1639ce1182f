"""Makes conversations of HTTP/2 frames for the fuzzer, sound ones and such as are not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Encoder

from windlass.router.http2_frames import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

if TYPE_CHECKING:
    from random import Random

Field = tuple[str, str]

REQUEST = ((":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"))
UPLOAD = ((":method", "POST"), *REQUEST[1:])
# Beside a sound head: fields that mean something to the router, and such as must not be.
REQUEST_FIELDS: tuple[Field, ...] = (
    *(("te", "trailers"), ("te", "gzip"), ("host", "a"), ("host", "b"), ("cookie", "a=b")),
    *(("content-length", "5"), ("content-length", "5, 5"), ("expect", "100-continue")),
    *(("content-type", "application/grpc"), ("connection", "close"), ("upgrade", "websocket")),
    *(("transfer-encoding", "chunked"), ("x-request-id", "1"), ("forwarded", "for=a")),
    *((":path", "*"), (":status", "200"), ("A", "b"), ("", ""), ("a b", "c"), ("a", "b\r\nc: d")),
    *(("a", " b"), ("a", "\0"), ("x-long", "y" * 3000)),
)
RESPONSES: tuple[tuple[Field, ...], ...] = (
    ((":status", "200"), ("content-length", "5")),
    ((":status", "200"),),
    ((":status", "200"), ("content-type", "application/grpc")),
    ((":status", "103"), ("link", "</a>")),
    ((":status", "204"),),
    ((":status", "304"), ("content-length", "5")),
    ((":status", "101"),),
    ((":status", "2000"),),
    ((":status", "500"), ("connection", "close")),
    ((":status", "200"), (":path", "/")),
    (("grpc-status", "0"),),
)
SIZES = (0, 1, 1, 5, 5, 5, 100, 100, 1000, 1000, 5000, 16385)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def client_bytes(random: Random) -> bytes:
    """Return what a client sends from its preface on."""
    encoder, parts, newest = Encoder(), [PREFACE, frame(SETTINGS, 0, 0)], -1
    for _ in range(random.choice((1, 2, 4, 8, 16))):
        if newest < 0 or random.random() < 0.4:
            newest = max(newest + random.choice((2, 2, 2, 2, 0, 1, -2, 100)), 1)
            ends = random.random() < 0.6
            head = [*(REQUEST if ends else UPLOAD)]
            while random.random() < 0.4:
                head.insert(random.randint(0, len(head)), random.choice(REQUEST_FIELDS))
            parts += _block(random, newest, bytes(encoder.encode(head)), ends=ends)
        else:
            parts.append(_any_frame(random, encoder, max(newest, 1)))
    return b"".join(parts)


def instance_bytes(random: Random) -> bytes:
    """Return what an instance that speaks HTTP/2 sends."""
    encoder, parts = Encoder(), [frame(SETTINGS, 0, 0)]
    for stream in range(1, 2 * random.choice((1, 1, 2, 4)), 2):
        while random.random() < 0.7:
            parts.append(_any_frame(random, encoder, stream))
        head = random.choice(RESPONSES)
        parts += _block(random, stream, bytes(encoder.encode(head)), ends=random.random() < 0.3)
        if random.random() < 0.7:
            parts.append(frame(DATA, random.choice((0, 1)), stream, b"hello"))
        if random.random() < 0.3:
            trailers = bytes(encoder.encode([("grpc-status", "0")]))
            parts += _block(random, stream, trailers, ends=True)
    return b"".join(parts)


def _block(random: Random, stream: int, block: bytes, *, ends: bool) -> list[bytes]:
    """Return a header block, sometimes in several frames."""
    if random.random() < 0.9:
        return [frame(HEADERS, 4 | ends, stream, block)]
    cut = random.randint(0, len(block))
    last = frame(CONTINUATION, random.choice((4, 4, 4, 0)), stream, block[cut:])
    return [frame(HEADERS, int(ends), stream, block[:cut]), last]


def _any_frame(random: Random, encoder: Encoder, newest: int) -> bytes:
    stream = random.choice((newest, newest, newest, 1, 0, newest + 2))
    number = random.choice((0, 1, 100, 65535, 0x7FFFFFFF, random.getrandbits(32)))
    match random.randrange(10):
        case 0 | 1 | 2:
            size = random.choice(SIZES)
            return frame(DATA, random.choice((0, 0, 1, 9)), stream, b"x" * size)
        case 3:
            return frame(RST_STREAM, 0, stream, random.choice((0, 7, 8)).to_bytes(4, "big"))
        case 4:
            opened = random.choice((0, stream))
            return frame(WINDOW_UPDATE, 0, opened, number.to_bytes(4, "big"))
        case 5:
            return frame(PING, random.choice((0, 1)), 0, b"12345678")
        case 6:
            key = random.randrange(8).to_bytes(2, "big")
            return frame(SETTINGS, random.choice((0, 0, 1)), 0, key + number.to_bytes(4, "big"))
        case 7:
            trailers = bytes(encoder.encode([random.choice(REQUEST_FIELDS)]))
            return frame(HEADERS, 5, stream, trailers)
        case 8:
            last = random.choice((0, newest, 0x7FFFFFFF)).to_bytes(4, "big")
            return frame(GOAWAY, 0, 0, last + bytes(4))
        case _:
            return frame(
                random.choice((PRIORITY, 5, 10, 99)), random.getrandbits(8), stream, bytes(5)
            )
