"""Makes inputs for the fuzzer: talks between client and instance, changed at random. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from windlass.bench.frames import client_bytes, frame, instance_bytes
from windlass.router.http2_frames import PREFACE, SETTINGS

if TYPE_CHECKING:
    from random import Random


class Event(IntEnum):
    """What happens to the router next."""

    CLIENT_SENDS = 0
    INSTANCE_SENDS = 1
    CONNECTED = 2
    REFUSED = 3
    CLIENT_FULL = 4
    CLIENT_TAKES = 5
    INSTANCE_FULL = 6
    INSTANCE_TAKES = 7
    CLIENT_LEAVES = 8
    INSTANCE_LEAVES = 9
    DEADLINE = 10


Step = tuple[Event, bytes]


class Talk(NamedTuple):
    """What happens, and whether the instance is one that speaks HTTP/2."""

    h2c: bool
    steps: list[Step]


_RARE = tuple(Event)[Event.REFUSED :]


_HOST = b"Host: a\r\n"
REQUESTS = (
    b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /%2e%2e/?a=b HTTP/1.1\r\n" + _HOST + b"Accept: */*\r\nCookie: a=b; c=d\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\n" + _HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    b'3;a="b"\r\nabc\r\n1f\r\n' + b"x" * 31 + b"\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"GET /chat HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x00",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"TE: trailers\r\nForwarded: for=1.2.3.4\r\n\r\n",
    b"GET http://a:80/x HTTP/1.1\r\n" + _HOST + b"X-Forwarded-For: 1.2.3.4, ::1\r\n\r\n",
    PREFACE + frame(SETTINGS, 0, 0),
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nServer: a\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: a\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello",
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n",
)
TOKENS = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"-1"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 18446744073709551616\r\n", b"Host: b\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b" folded\r\n"),
    *(b"Connection: close, te\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"\xff"),
    *(b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"1;\r\nx\r\n", b"HTTP/1.1", b"HTTP/1.0", b"\x80"),
    *(b"Expect: 100-continue\r\n", b"X: " + b"y" * 3000 + b"\r\n", b"A: b\r\n" * 101, b"%00"),
)
CHANCE_OF_RARE = 0.08  # at each step
CHANCE_OF_HTTP2 = 0.35
CHANCE_OF_H2C = 0.3
CHANCE_OF_SOUND = 0.25  # that a side's bytes stay as they are
CHANCE_OF_SOUND_FRAMES = 0.6  # what the frames say is broken often enough


def talk(random: Random) -> Talk:
    """Return what happens on one client's connection."""
    h2c = random.random() < CHANCE_OF_H2C
    if random.random() < CHANCE_OF_HTTP2:
        client = _changed(random, client_bytes(random), REQUESTS, CHANCE_OF_SOUND_FRAMES)
    else:
        client = _bytes(random, REQUESTS)
    if h2c:
        instance = _changed(random, instance_bytes(random), RESPONSES, CHANCE_OF_SOUND_FRAMES)
    else:
        instance = _bytes(random, RESPONSES)
    return Talk(h2c, _steps(random, client, instance))


def _steps(random: Random, client: bytes, instance: bytes) -> list[Step]:
    sides = [(Event.CLIENT_SENDS, part) for part in _parts(random, client)]
    steps: list[Step] = []
    for part in _parts(random, instance):
        cut = random.randint(0, len(sides))
        steps += sides[:cut]
        sides = sides[cut:]
        if random.random() < 0.9:
            steps.append((Event.CONNECTED, b""))
        steps.append((Event.INSTANCE_SENDS, part))
        if random.random() < CHANCE_OF_RARE:
            steps.append((random.choice(_RARE), b""))
    return steps + sides


def _bytes(random: Random, seeds: tuple[bytes, ...]) -> bytes:
    count = random.choice((1, 1, 1, 2, 3))
    return _changed(random, b"".join(random.choice(seeds) for _ in range(count)), seeds)


def _changed(
    random: Random, sound: bytes, seeds: tuple[bytes, ...], chance: float = CHANCE_OF_SOUND
) -> bytes:
    data = bytearray(sound)
    if random.random() >= chance:
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            _mutate(random, data, seeds)
    return bytes(data)


def _mutate(random: Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    at = random.randint(0, len(data))
    end = min(len(data), at + random.choice((1, 2, 5, 20, 100)))
    match random.randrange(7):
        case 0:
            data[at:at] = random.choice(TOKENS)
        case 1:
            data[at:end] = b""
        case 2:
            data[at:at] = data[at:end] * random.choice((1, 2, 50))
        case 3 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 4 if at < len(data):
            data[at] = random.randrange(256)
        case 5:
            data[at:end] = random.choice(TOKENS)
        case _:
            other = random.choice(seeds)
            data[at:] = other[random.randint(0, len(other)) :]


def _parts(random: Random, data: bytes) -> list[bytes]:
    """Cut bytes as a network might."""
    if random.random() < 0.3:
        return [data]
    if len(data) < 200 and random.random() < 0.05:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.choice((1, 1, 2, 5))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
