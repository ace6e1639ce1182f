"""How one response is written for each kind of client."""

from __future__ import annotations

import pytest

from windlass.router.body import RequestBody
from windlass.router.errors import Problem
from windlass.router.headers import CHUNKED, read_response
from windlass.router.responses import compose

KNOWN = b"Content-Length: 3\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
KEEP = b"Connection: keep-alive\r\n"


@pytest.mark.parametrize(
    ("section", "status", "method", "minor", "fields", "in_chunks", "keep"),
    [
        (KNOWN, 200, b"GET", 1, KNOWN, False, True),
        (KNOWN, 200, b"GET", 0, KNOWN + KEEP, False, True),
        (KNOWN, 200, b"HEAD", 1, KNOWN, False, True),
        (CHUNKS, 200, b"GET", 1, CHUNKS, True, True),
        (CHUNKS, 200, b"GET", 0, CLOSE, False, False),
        (CHUNKS, 200, b"HEAD", 1, CHUNKS, False, True),
        (CHUNKS, 200, b"HEAD", 0, KEEP, False, True),
        (b"", 200, b"GET", 1, CHUNKS, True, True),
        (b"", 200, b"GET", 0, CLOSE, False, False),
        (b"", 200, b"HEAD", 1, b"", False, True),
        (b"", 204, b"GET", 1, b"", False, True),
        (b"", 304, b"GET", 0, KEEP, False, True),
    ],
)
def test_the_end_of_a_body_is_said_as_the_client_understands_it(
    section: bytes,
    status: int,
    method: bytes,
    minor: int,
    fields: bytes,
    in_chunks: bool,
    keep: bool,
) -> None:
    head = read_response(section, 1, status, b"Reason")
    composed = compose(head, method, minor, keep=True)
    assert composed.head == b"HTTP/1.1 %d Reason\r\n%b\r\n" % (status, fields)
    assert (composed.in_chunks, composed.keep) == (in_chunks, keep)


def test_a_connection_that_ends_says_so() -> None:
    composed = compose(read_response(KNOWN, 1, 200, b""), b"GET", 1, keep=False)
    assert composed.head.endswith(KNOWN + CLOSE + b"\r\n")
    assert not composed.keep


def test_a_problem_says_when_to_try_again() -> None:
    head, body = Problem(429, "queue-full", "Full.", retry_after=1).head_and_body("hello")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"Content-Length: %d\r\nRetry-After: 1\r\n" % len(body) in head
    assert body == (
        b'{"type":"urn:windlass:problem:queue-full","title":"Too Many Requests","status":429,'
        b'"detail":"Full.","service":"hello"}'
    )


def test_a_body_with_a_length_ends_there_and_not_before() -> None:
    body = RequestBody(5)
    assert body.feed(b"abc") == b"abc"
    assert not body.ended
    assert body.feed(b"deGET /") == b"de"
    assert (body.ended, body.rest, body.received) == (True, b"GET /", 5)


def test_a_chunked_body_counts_what_is_inside_the_chunks() -> None:
    body = RequestBody(CHUNKED)
    assert body.feed(b"3\r\nabc\r\n0\r\nX: 1\r\n\r\nrest") == b"abc"
    assert (body.ended, body.rest, body.received) == (True, b"rest", 3)
    assert body.trailers == b"X: 1\r\n"
