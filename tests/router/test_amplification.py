"""What a request costs in memory and CPU, measured against the bytes that it consists of.

Bounds are wide: they catch what grows faster than the input, not what is a little slower.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from tests.router.test_http1_bytes import Wire, get

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
