"""What heads mean: framing that no one can read differently, hop-by-hop fields, Forwarded."""

from __future__ import annotations

import pytest

from windlass.router.errors import Problem
from windlass.router.grammar import Malformed
from windlass.router.headers import (
    CHUNKED,
    UNTIL_CLOSE,
    Peer,
    RequestFields,
    ResponseHead,
    read_request,
    read_response,
)

PEER = Peer(b"192.0.2.1", b"http", b"127.0.0.1:8080")


def request(
    *lines: bytes, minor: int = 1, authority: bytes = b"", host: bool = True
) -> RequestFields:
    all_lines = [*([b"Host: Hello.localhost:8080"] if host else []), *lines]
    return read_request(b"".join(line + b"\r\n" for line in all_lines), minor, authority, PEER)


def response(*lines: bytes, minor: int = 1, status: int = 200) -> ResponseHead:
    return read_response(b"".join(line + b"\r\n" for line in lines), minor, status, b"")


def test_the_host_is_passed_unchanged_and_routed_by_its_name() -> None:
    fields = request()
    assert fields.host == b"hello.localhost"
    assert fields.block.startswith(b"Host: Hello.localhost:8080\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        *(
            [b"Transfer-Encoding: " + coding]
            for coding in (
                *(b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"xchunked"),
                *(
                    b"chunked, chunked",
                    b"chunked;q=1",
                    b"'chunked'",
                    b"\x0bchunked",
                    b"chunked\xa0",
                ),
            )
        ),
        *(
            [b"Content-Length: " + length]
            for length in (
                *(b"", b"-1", b"+1", b"1,1", b"1, 2", b"0x1", b"1_0", b"1 1", b"1.0", b"a"),
                *(b"9" * 19, b"\xef\xbc\x91"),
            )
        ),
        [b"Content-Length: 1", b"Content-Length: 1"],
        [b"Host: hello.localhost"],
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(Malformed):
        request(*lines)


def test_a_length_is_written_anew() -> None:
    fields = request(b"Content-Length: 0042")
    assert fields.length == 42
    assert b"\r\nContent-Length: 42\r\n" in fields.block


def test_chunked_is_chunked_in_any_case() -> None:
    fields = request(b"transfer-encoding: CHUNKED")
    assert fields.length == CHUNKED
    assert fields.block.count(b"Transfer-Encoding: chunked\r\n") == 1


def test_a_request_needs_exactly_one_host() -> None:
    with pytest.raises(Malformed):
        request(host=False)


def test_http_1_0_without_a_host_names_the_address_that_was_called() -> None:
    fields = request(host=False, minor=0)
    assert fields.host == b"127.0.0.1"
    assert fields.block.startswith(b"Host: 127.0.0.1:8080\r\n")


def test_http_1_0_has_no_chunks() -> None:
    with pytest.raises(Malformed):
        request(b"Transfer-Encoding: chunked", minor=0)


def test_the_authority_of_an_absolute_target_wins_over_the_host() -> None:
    fields = request(authority=b"other.localhost")
    assert fields.host == b"other.localhost"
    assert fields.block.startswith(b"Host: other.localhost\r\n")
    assert b"Hello" not in fields.block


def test_an_authority_with_a_user_is_refused() -> None:
    with pytest.raises(Malformed):
        request(authority=b"user@other.localhost")


def test_hop_by_hop_fields_stay_here() -> None:
    fields = request(
        b"Connection: keep-alive, X-Mine",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic eA==",
        b"TE: gzip",
        b"X-Mine: 1",
        b"X-Theirs: 2",
    )
    for name in (b"Connection", b"Keep-Alive", b"Proxy-", b"TE:", b"X-Mine"):
        assert name not in fields.block
    assert b"X-Theirs: 2\r\n" in fields.block
    assert fields.keep_alive


def test_framing_cannot_be_removed_by_naming_it_in_connection() -> None:
    fields = request(b"Connection: content-length, host", b"Content-Length: 3")
    assert b"Content-Length: 3\r\n" in fields.block
    assert b"Host: Hello.localhost:8080\r\n" in fields.block


def test_trailers_are_asked_for_if_the_client_takes_them() -> None:
    fields = request(b"Connection: TE", b"TE: gzip;q=0.5, Trailers")
    assert fields.block.endswith(b"TE: trailers\r\nConnection: TE\r\n")


def test_forwarded_fields_grow_by_one_and_proto_and_host_are_ours() -> None:
    fields = request(
        b"X-Forwarded-For: 198.51.100.1",
        b"Forwarded: for=198.51.100.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil",
    )
    for line in (
        b"X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n",
        b'Forwarded: for=198.51.100.1, for=192.0.2.1;host="Hello.localhost:8080";proto=http\r\n',
        b"X-Forwarded-Proto: http\r\n",
        b"X-Forwarded-Host: Hello.localhost:8080\r\n",
    ):
        assert line in fields.block
    assert b"evil" not in fields.block
    assert fields.block.lower().count(b"x-forwarded-for") == 1


def test_an_ipv6_client_is_quoted_in_forwarded() -> None:
    fields = read_request(b"Host: a\r\n", 1, b"", Peer(b"::1", b"http", b"[::1]:80"))
    assert b'Forwarded: for="[::1]";host=a;proto=http\r\n' in fields.block


@pytest.mark.parametrize("protocol", [b"h2c", b"HTTP/2.0", b"a, b", b"a b"])
def test_an_upgrade_that_is_not_tunnelled_is_left_out(protocol: bytes) -> None:
    fields = request(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: AA"
    )
    assert fields.upgrade == b""
    assert b"pgrade" not in fields.block
    assert b"HTTP2" not in fields.block


def test_an_upgrade_is_asked_for_only_with_connection_and_without_a_body() -> None:
    assert request(b"Connection: upgrade", b"Upgrade: WebSocket").upgrade == b"websocket"
    assert request(b"Upgrade: websocket").upgrade == b""
    with_body = request(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1")
    assert with_body.upgrade == b""


def test_too_many_fields_are_refused() -> None:
    assert request(*[b"A: b"] * 99)
    with pytest.raises(Problem) as problem:
        request(*[b"A: b"] * 100)
    assert problem.value.status == 431


def test_a_response_keeps_its_fields_but_hop_by_hop_ones() -> None:
    head = response(
        b"Connection: close, X-Mine",
        b"X-Mine: 1",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        b"Content-Length: 3",
    )
    assert head.plain == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\r\n"
    )
    assert head.close


@pytest.mark.parametrize(
    ("lines", "status", "length", "framing"),
    [
        ([b"Content-Length: 3"], 200, 3, b"Content-Length: 3\r\n"),
        ([b"Transfer-Encoding: chunked"], 200, CHUNKED, b"Transfer-Encoding: chunked\r\n"),
        ([], 200, UNTIL_CLOSE, b"Transfer-Encoding: chunked\r\n"),
        ([b"Content-Length: 3"], 204, 3, b""),
        ([], 304, UNTIL_CLOSE, b""),
        ([b"Content-Length: 0"], 101, UNTIL_CLOSE, b""),
    ],
)
def test_where_a_response_ends(
    lines: list[bytes], status: int, length: int, framing: bytes
) -> None:
    head = response(*lines, status=status)
    assert (head.length, head.framing) == (length, framing)


def test_http_1_0_instances_close_unless_they_say_otherwise() -> None:
    assert response(minor=0).close
    assert not response(b"Connection: keep-alive", minor=0).close


def test_a_426_keeps_the_protocol_it_demands() -> None:
    head = response(b"Connection: Upgrade", b"Upgrade: foo/2", status=426)
    assert b"Connection: Upgrade\r\nUpgrade: foo/2\r\n" in head.plain


def test_a_status_without_a_name_has_an_empty_reason() -> None:
    assert response(b"Content-Length: 0", status=299).plain.startswith(b"HTTP/1.1 299 \r\n")
