"""What HTTP/2's fields become in the other protocol's words, and which are refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.router.chunked import NO_TRAILER
from windlass.router.errors import Problem
from windlass.router.grammar import Malformed, parse_fields
from windlass.router.headers import CHUNKED, Peer
from windlass.router.http2_fields import (
    parse_block,
    problem_headers,
    read_request_headers,
    read_response_headers,
    read_trailers,
    request_headers,
    response_headers,
)

PEER = Peer(b"10.0.0.1", b"http", b"10.0.0.2:80")
HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


def test_a_request_keeps_its_meaning_through_both_protocols() -> None:
    method, target, fields = read_request_headers(
        [*HEAD[:3], (b":path", b"/x?y"), (b"te", b"trailers"), (b"a", b"1"), (b"a", b"2")],
        True,
        PEER,
    )
    assert (method, target, fields.host, fields.length) == (b"GET", b"/x?y", b"a", 0)
    headers = request_headers(method, target, fields.host, fields.block)
    assert headers[:4] == [*HEAD[:3], (b":path", b"/x?y")]
    assert [header for header in headers if header[0] in (b"a", b"te")] == [
        (b"a", b"1"),
        (b"a", b"2"),
        (b"te", b"trailers"),
    ]


@pytest.mark.parametrize(
    ("length", "ended", "expected"), [(b"5", False, 5), (None, False, CHUNKED), (b"0", True, 0)]
)
def test_a_body_has_the_length_it_says(length: bytes | None, ended: bool, expected: int) -> None:
    fields = [] if length is None else [(b"content-length", length)]
    assert read_request_headers([*HEAD, *fields], ended, PEER)[2].length == expected


@pytest.mark.parametrize(
    "headers",
    [
        HEAD[1:],
        HEAD[:1] + HEAD[2:],
        HEAD[:3],
        [HEAD[0], *HEAD],
        [*HEAD, (b":status", b"200")],
        [(b"a", b"b"), *HEAD],
        [(b":method", b"CONNECT"), (b":authority", b"a")],
        [(b":method", b"G T"), *HEAD[1:]],
        [*HEAD[:3], (b":path", b"x")],
        [*HEAD[:3], (b":path", b"/ x")],
        [*HEAD[:3], (b":path", b"*")],
        [HEAD[0], HEAD[1], HEAD[3]],
        [HEAD[0], HEAD[1], (b":authority", b"user@a"), HEAD[3]],
        [*HEAD, (b"Upper", b"a")],
        [*HEAD, (b"", b"a")],
        [*HEAD, (b"a:", b"a")],
        [*HEAD, (b"a", b"b\n")],
        [*HEAD, (b"a", b"b\0")],
        [*HEAD, (b"a", b"b ")],
        [*HEAD, (b"content-length", b"1"), (b"content-length", b"1")],
        [*HEAD, (b"content-length", b"+1")],
        *([*HEAD, (name, b"a")] for name in (b"connection", b"upgrade", b"keep-alive", b"te")),
    ],
)
def test_a_malformed_request_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Malformed):
        read_request_headers(headers, False, PEER)


TEXT = st.binary(max_size=12)
NAMES = st.sampled_from(
    [
        *(name for name, _ in HEAD),
        *(b"host content-length te cookie connection x-a expect forwarded".split()),
    ]
)


@given(
    st.lists(st.tuples(NAMES | TEXT, TEXT | st.sampled_from([v for _, v in HEAD]))), st.booleans()
)
def test_no_field_can_write_a_line_of_its_own(
    extra: list[tuple[bytes, bytes]], ended: bool
) -> None:
    with contextlib.suppress(Malformed, Problem):
        _, target, fields = read_request_headers([*HEAD, *extra], ended, PEER)
        assert b" " not in target
        names = [name.lower() for name, _ in parse_fields(fields.block)]
        assert names.count(b"host") == 1
        known = {b"host", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"}
        known |= {b"x-forwarded-host", b"transfer-encoding", b"connection"}
        assert set(names) <= known | {name for name, _ in extra}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b":status", b"20")],
        [(b":status", b"101")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"a", b"b\r\nc: d")],
    ],
)
def test_a_malformed_response_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Malformed):
        read_response_headers(headers)


def test_a_response_keeps_its_fields() -> None:
    headers = [(b":status", b"200"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"x", b"")]
    head = read_response_headers([*headers, (b"content-length", b"5")])
    assert response_headers(head) == [*headers, (b"content-length", b"5")]
    assert head.plain.startswith(b"HTTP/1.1 200 OK\r\nset-cookie: a\r\n")


def test_trailers_are_passed_on_but_for_those_that_frame() -> None:
    assert read_trailers([(b"grpc-status", b"0"), (b"host", b"a")]) == b"grpc-status: 0\r\n"
    assert parse_block(b"grpc-status: 0\r\n") == [(b"grpc-status", b"0")]
    assert b"host" in NO_TRAILER
    with pytest.raises(Malformed):
        read_trailers([(b":status", b"200")])


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Problem(404, "no-such-service", "é 100%"), b"12"),
        (Problem(429, "queue-full", ""), b"14"),
        (Problem(431, "too-many-fields", ""), b"2"),
        (Problem(504, "request-timeout", ""), b"4"),
        (Problem(413, "body-too-large", ""), b"8"),
    ],
)
def test_a_problem_has_a_code_of_grpc(problem: Problem, code: bytes) -> None:
    headers, body = problem_headers(problem, "", is_grpc=True)
    assert dict(headers)[b"grpc-status"] == code
    assert body == b""
    if problem.status == 404:
        assert dict(headers)[b"grpc-message"] == b"%C3%A9 100%25"


def test_a_problem_says_when_to_come_again() -> None:
    headers, body = problem_headers(Problem(429, "k", "", retry_after=3), "hello", is_grpc=False)
    assert headers[0] == (b":status", b"429")
    assert (b"retry-after", b"3") in headers
    assert (b"content-length", b"%d" % len(body)) in headers
