"""What a request costs in memory and CPU, measured against the bytes that it consists of.

Bounds are wide: they catch what grows faster than the input, not what is a little slower.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from tests.router.test_http1_bytes import Wire, get
from tests.router.test_http2_bytes import Wire as FramesWire
from tests.router.test_http2_bytes import dispatch_without_instances

from windlass.router.http2 import ClientSession
from windlass.router.http2_frames import HEADERS, PREFACE, FrameReader

if TYPE_CHECKING:
    from collections.abc import Callable

Feed = list[bytes]  # what the client sends, piece by piece

MAX_MEMORY = 100  # bytes for each byte of a request
MAX_CPU = 100  # times a plain request's CPU time for each of its bytes


def pieces(data: bytes, size: int) -> Feed:
    return [data[at : at + size] for at in range(0, len(data), size)]


def chunked(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body


FIELDS = b"GET / HTTP/1.1\r\nHost: a\r\n"
CASES: dict[str, Callable[[], Feed]] = {
    "a hundred tiny fields": lambda: [FIELDS + b"a:\r\n" * 98 + b"\r\n"],
    "too many tiny fields": lambda: [FIELDS + b"a:\r\n" * 8000 + b"\r\n"],
    "one long field": lambda: [FIELDS + b"a: " + b"x" * 32000 + b"\r\n\r\n"],
    "one long field of commas": lambda: [FIELDS + b"Connection: " + b"," * 32000 + b"\r\n\r\n"],
    "many options": lambda: [FIELDS + b"Connection: a" + b",a" * 15000 + b"\r\n\r\n"],
    "many codings": lambda: [FIELDS + b"TE: " + b",a" * 15000 + b"\r\n\r\n"],
    "many hops": lambda: [FIELDS + b"X-Forwarded-For: a" + b",a" * 15000 + b"\r\n\r\n"],
    "a long host": lambda: [b"GET / HTTP/1.1\r\nHost: " + b"a" * 32000 + b"\r\n\r\n"],
    "a long target": lambda: [b"GET /" + b"%" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"],
    "a long cookie of affinity": lambda: [
        FIELDS + b"Cookie: a=b" + b"; windlass-affinity=x" * 1500 + b"\r\n\r\n"
    ],
    "a long line that never ends": lambda: pieces(b"GET /" + b"a" * 8000, 1),
    "a head that comes byte by byte": lambda: pieces(FIELDS + b"a: b\r\n" * 90 + b"\r\n", 1),
    "tiny chunks": lambda: [chunked(b"1\r\nx\r\n" * 10000 + b"0\r\n\r\n")],
    "tiny chunks, one at a time": lambda: [chunked(b""), *[b"1\r\nx\r\n"] * 3000, b"0\r\n\r\n"],
    "chunks that come byte by byte": lambda: pieces(chunked(b"1\r\nx\r\n" * 500 + b"0\r\n\r\n"), 1),
    "long chunk extensions": lambda: [
        chunked((b"1;" + b";".join([b"a=b"] * 200) + b"\r\nx\r\n") * 40 + b"0\r\n\r\n")
    ],
    "a trailer section that comes byte by byte": lambda: [
        chunked(b"0\r\n"),
        *pieces(b"x: y\r\n" * 90 + b"\r\n", 1),
    ],
    "pipelined requests": lambda: [get("/") * 2000],
    "pipelined requests that are refused": lambda: [b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" * 2000],
    "empty lines": lambda: [b"\r\n" * 4000 + get("/")],
}


def play(feed: Feed) -> None:
    """Let a client send, and the instance answer each request at once."""
    wire = Wire()
    for data in feed:
        if not wire.to_client.closed and not wire.to_client.paused:
            wire.send(data)
    while wire.pool.counts.in_flight and not wire.to_instance.closed:
        wire.answer()


def processor_seconds(feed: Feed) -> float:
    """Return the least CPU time of a few goes: what disturbs only adds."""
    taken = []
    for _ in range(3):
        begin = time.process_time()
        play(feed)
        taken.append(time.process_time() - begin)
    return min(taken)


def most_memory(feed: Feed) -> int:
    """Return the bytes that were held at most."""
    play(feed)  # what is made once and kept is not the request's
    gc.collect()
    tracemalloc.start()
    play(feed)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.fixture(scope="module")
def plain() -> float:
    """Return the CPU seconds of a byte of a plain request, with its share of a new connection."""
    feed = [get("/", "Accept: */*", "User-Agent: test")]
    return processor_seconds(feed * 50) / sum(map(len, feed * 50))


@pytest.mark.parametrize("name", CASES)
def test_no_request_takes_a_hundred_times_its_bytes_in_memory(name: str) -> None:
    feed = CASES[name]()
    nothing = most_memory([b""])
    assert most_memory(feed) - nothing < MAX_MEMORY * max(sum(map(len, feed)), 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_byte_takes_a_hundred_times_a_plain_ones_cpu_time(name: str, plain: float) -> None:
    feed = CASES[name]()
    assert processor_seconds(feed) < MAX_CPU * plain * sum(map(len, feed))


# HTTP/2: what a client sends after its preface; a request counts as a hundred bytes at least, since
# HPACK makes a whole head of ten.


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


INDEXED = b"\x82\x86\x84"  # :method GET, :scheme http, :path /
HOST = b"\x01\x01a"  # :authority a, which the table does not keep
KEPT = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000  # x: yyy..., which it does
NEWEST = b"\xbe"


def requests(block: bytes, count: int, first: bytes = b"") -> bytes:
    blocks = [first + block, *[block] * (count - 1)] if first else [block] * count
    return b"".join(frame(1, 5, 2 * n + 1, part) for n, part in enumerate(blocks))


HTTP2_CASES: dict[str, bytes] = {
    "tiny requests": requests(INDEXED + HOST, 100),
    "a kept field, one byte in each request": frame(1, 5, 1, INDEXED + HOST + KEPT)
    + b"".join(frame(1, 5, n, INDEXED + HOST + NEWEST) for n in range(3, 201, 2)),
    "a kept field, many times in a request": frame(1, 5, 1, INDEXED + HOST + KEPT)
    + frame(1, 5, 3, INDEXED + HOST + NEWEST * 7)
    + frame(1, 5, 5, INDEXED + HOST + NEWEST * 1000),
    "a hundred and one tiny fields": frame(1, 5, 1, INDEXED + HOST + b"\x00\x01a\x00" * 101),
    "a block of thousands of the table's own fields": frame(
        1, 5, 1, INDEXED + HOST + b"\x90" * 16000
    ),
    "requests that are refused": requests(INDEXED + b"\x01\x03a b", 390),
    "resets": b"".join(
        frame(1, 5, n, INDEXED + HOST) + frame(3, 0, n, bytes(4)) for n in range(1, 700, 2)
    ),
    "a body byte by byte": frame(1, 4, 1, b"\x83\x86\x84" + HOST) + frame(0, 0, 1, b"x") * 3000,
    "a window wider by a byte, again and again": frame(1, 4, 1, INDEXED + HOST)
    + frame(8, 0, 1, (1).to_bytes(4, "big")) * 3000
    + frame(8, 0, 0, (1).to_bytes(4, "big")) * 3000,
    "priorities": frame(2, 0, 1, bytes(5)) * 990,
    "data on a stream that is reset": frame(1, 4, 1, b"\x83\x86\x84" + HOST)
    + frame(3, 0, 1, bytes(4))
    + frame(0, 0, 1, b"x") * 3000,
    "settings": frame(4, 0, 0, b"\0\x04\0\0\0\0" * 2000) * 19,
}


def counted_size(sent: bytes) -> int:
    """Return the bytes that these count for."""
    count = sum(part.kind == HEADERS for part in FrameReader().feed(sent))
    return max(len(sent), 100 * count)


async def play_http2(sent: bytes) -> tuple[int, float]:
    """Let a client send at once; return the bytes held at most, and CPU seconds."""
    dispatch, wire = dispatch_without_instances(), FramesWire()
    session = ClientSession(dispatch)
    session.connection_made(wire)
    session.data_received(PREFACE + frame(4, 0, 0))
    await asyncio.sleep(0)
    gc.collect()
    tracing = tracemalloc.is_tracing()
    before = tracemalloc.get_traced_memory()[0] if tracing else 0
    begin = time.process_time()
    for at in range(0, len(sent), 65536):
        if not wire.closed:
            session.data_received(sent[at : at + 65536])
            await asyncio.sleep(0)
    took = time.process_time() - begin
    most = tracemalloc.get_traced_memory()[1] - before if tracing else 0
    session.connection_lost(None)
    await asyncio.sleep(0)
    assert not dispatch.pools["r"].counts.queued
    return most, took


@pytest.mark.parametrize("name", HTTP2_CASES)
def test_no_http_2_request_takes_a_hundred_times_its_bytes_in_memory(name: str) -> None:
    sent = HTTP2_CASES[name]
    asyncio.run(play_http2(sent))
    tracemalloc.start()
    most, _ = asyncio.run(play_http2(sent))
    tracemalloc.stop()
    assert most < MAX_MEMORY * counted_size(sent)


@pytest.mark.slow
@pytest.mark.parametrize("name", HTTP2_CASES)
def test_no_byte_of_http_2_takes_a_hundred_times_a_plain_ones_cpu_time(
    name: str, plain: float
) -> None:
    sent = HTTP2_CASES[name]
    took = min(asyncio.run(play_http2(sent))[1] for _ in range(3))
    assert took < MAX_CPU * plain * counted_size(sent)
