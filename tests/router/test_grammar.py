"""The syntax of heads: every form that could be read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.router.grammar import (
    MAX_NAME,
    Malformed,
    has_bare_line_end,
    is_protocol,
    parse_fields,
    parse_host,
    parse_request_line,
    parse_status_line,
    parse_target,
    parse_tokens,
)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", 1)),
        (b"GET /a?b=c%20d HTTP/1.0", (b"GET", b"/a?b=c%20d", 0)),
        (b"M-SEARCH * HTTP/1.1", (b"M-SEARCH", b"*", 1)),
        (b"GET http://a/ HTTP/1.1", (b"GET", b"http://a/", 1)),
    ],
)
def test_a_request_line_has_three_parts(line: bytes, parsed: tuple[bytes, bytes, int]) -> None:
    assert parse_request_line(line) == parsed


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b" GET / HTTP/1.1"),
        *(b"GET / HTTP/1.1 ", b"GET\t/ HTTP/1.1", b"GET / a HTTP/1.1", b"GET / HTTP/2.0"),
        *(b"GET / HTTP/1.2", b"GET / HTTP/01.1", b"GET / HTTP/1.10", b"GET / http/1.1"),
        *(b"GET / HTTP/ 1.1", b"GET / HTTP/1.1\r", b"GET /#a HTTP/1.1", b"GET /\x00 HTTP/1.1"),
        *(b"GET /\xc3\xa9 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"G(T / HTTP/1.1", b"PRI * HTTP/2.0"),
        *(b"GET /\r HTTP/1.1", b"GET / ICE/1.1", b"G\xc3\xa9T / HTTP/1.1"),
    ],
)
def test_a_request_line_of_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request_line(line)


@pytest.mark.parametrize(
    ("method", "target", "parsed"),
    [
        (b"GET", b"/a?b", (b"/a?b", b"")),
        (b"OPTIONS", b"*", (b"*", b"")),
        (b"GET", b"http://a.b:80/c", (b"/c", b"a.b:80")),
        (b"GET", b"HTTPS://a", (b"/", b"a")),
        (b"GET", b"http://a?b", (b"/?b", b"a")),
    ],
)
def test_a_target_becomes_a_path(method: bytes, target: bytes, parsed: tuple[bytes, bytes]) -> None:
    assert parse_target(method, target) == parsed


@pytest.mark.parametrize("target", [b"*", b"a.b:80", b"a/b", b"ftp://a/", b"http:///a", b"?a"])
def test_a_target_that_fits_no_form_is_refused(target: bytes) -> None:
    with pytest.raises(Malformed):
        parse_target(b"GET", target)


def test_fields_lose_the_space_around_their_values() -> None:
    section = b"A: b\r\nC:\td \t\r\nE:\r\nF:  \r\nG-!#$%&'*+.^_`|~9: \xff\r\n"
    assert parse_fields(section) == [
        (b"A", b"b"),
        (b"C", b"d"),
        (b"E", b""),
        (b"F", b""),
        (b"G-!#$%&'*+.^_`|~9", b"\xff"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"A : b",
            b"A\t: b",
            b": b",
            b"A",
            b" A: b",
            b"A: b\r\n c",
            b"A: b\r\n\tc",
            b"A: b\nC: d",
        ),
        *(b"A: b\rC: d", b"A: \x00", b"A: \x01", b"A: \x0b", b"A: \x7f", b"A\x00: b", b"A\x80: b"),
        *(b"A[: b", b"A(: b", b"\xc3\xa9: b", b"A: b\r\r", b"A" * (MAX_NAME + 1) + b": b"),
        *(b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 5\r\nContent-Length: 6"),
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_malformed_field_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        parse_fields(b"Before: x\r\n" + line + b"\r\nAfter: y\r\n")


@given(st.binary(max_size=60))
def test_whatever_is_taken_for_fields_is_nothing_but_lines_of_name_and_value(data: bytes) -> None:
    section = data + b"\r\n"
    try:
        fields = parse_fields(section)
    except Malformed:
        return
    lines = section.split(b"\r\n")[:-1]
    assert len(fields) == len(lines)
    for line, (name, value) in zip(lines, fields, strict=True):
        before, colon, after = line.partition(b":")
        assert (before, colon, after.strip(b" \t")) == (name, b":", value)
        assert not set(value) & {0, 10, 13}


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"Hello.LOCALHOST:8080", b"hello.localhost"),
        (b"127.0.0.1", b"127.0.0.1"),
        (b"[::1]:80", b"[::1]"),
        (b"a:", b"a"),
        (b"green---hello.localhost", b"green---hello.localhost"),
    ],
)
def test_a_host_loses_its_port_and_its_case(value: bytes, host: bytes) -> None:
    assert parse_host(value) == host


@pytest.mark.parametrize(
    "value",
    [b"", b"a b", b"a/b", b"u@a", b"a:b", b"a:123456", b"a,b", b"a#", b"[::1", b"a?b", b"a\xff"],
)
def test_a_host_of_another_form_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed):
        parse_host(value)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (b"HTTP/1.1 200 OK", (1, 200, b"OK")),
        (b"HTTP/1.0 404 Not Found", (0, 404, b"Not Found")),
        (b"HTTP/1.1 200 ", (1, 200, b"")),
        (b"HTTP/1.1 200", (1, 200, b"")),
    ],
)
def test_a_status_line(line: bytes, parsed: tuple[int, int, bytes]) -> None:
    assert parse_status_line(line) == parsed


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 999 A",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200\rA",
    ],
)
def test_a_status_line_of_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        parse_status_line(line)


def test_a_list_of_tokens() -> None:
    assert parse_tokens([b"Close, Upgrade ,, X-A", b"te"]) == [b"close", b"upgrade", b"x-a", b"te"]
    assert parse_tokens([]) == []
    with pytest.raises(Malformed):
        parse_tokens([b"a b"])


@pytest.mark.parametrize(
    ("head", "bare"),
    [(b"A\r\nB", False), (b"A\r", False), (b"A\nB", True), (b"A\rB", True), (b"\n", True)],
)
def test_a_bare_line_end_is_seen(head: bytes, bare: bool) -> None:
    assert has_bare_line_end(head, 0) is bare


def test_a_protocol_is_a_token_with_a_version_perhaps() -> None:
    assert is_protocol(b"websocket")
    assert is_protocol(b"irc/6.9")
    assert not is_protocol(b"a, b")
    assert not is_protocol(b"")


def test_a_list_of_more_than_a_hundred_tokens_is_refused() -> None:
    assert len(parse_tokens([b",".join([b"a"] * 60), b",".join([b"b"] * 40)])) == 100
    with pytest.raises(Malformed, match="100 options"):
        parse_tokens([b",".join([b"a"] * 101)])
