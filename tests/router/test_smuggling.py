"""Requests that two parsers could read in two ways: refused, or written anew in one way only.

The classes are those of request smuggling's literature; the rules are RFC 9110's and RFC 9112's.
"""

from __future__ import annotations

import pytest
from tests.router.smuggling import NEXT, talk

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n"


def with_fields(*lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\nhello"


def with_host(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


def chunks(data: bytes) -> bytes:
    return HEAD + CHUNKED + b"\r\n" + data


def line(value: bytes) -> bytes:
    return value + b"\r\nHost: a\r\n\r\n"


REFUSED: dict[str, list[bytes]] = {
    "a transfer coding that is not plainly chunked": [
        with_fields(b"Transfer-Encoding:" + value)
        for value in (
            *(b" identity", b" gzip", b" gzip, chunked", b" chunked, gzip", b" chunked, chunked"),
            *(b"", b" ,chunked", b" chunked,", b' "chunked"', b" chunked;q=1", b" xchunked"),
            *(b" chunk", b"\x0bchunked", b" \x0cchunked", b" chunked\x00", b" chunked\xa0"),
            *(b" chunked\x7f", b" 'chunked'", b" c\xe4unked", b" chunked\x1f", b" chunkedchunked"),
        )
    ],
    "a transfer coding twice, or beside a length": [
        with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        with_fields(b"Transfer-Encoding: identity", b"transfer-encoding: chunked"),
        with_fields(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        with_fields(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        with_fields(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        with_fields(b"Transfer-Encoding: x", b"Content-Length: 5"),
    ],
    "a length that is not one plain number": [
        with_fields(b"Content-Length:" + value)
        for value in (
            *(b"", b" +5", b" -5", b" -0", b" 0x5", b" 5,5", b" 5, 6", b" 5 5", b" 5_0", b" 5.0"),
            *(b" 1e1", b" 0o5", b" five", b' "5"', b" 5;", b" 18446744073709551621", b" \x0b5"),
            *(b" 9999999999999999999", b" \xef\xbc\x95", b" 5\x00", b" 5\xa0", b" NaN", b" ,5"),
        )
    ],
    "a length twice": [
        with_fields(b"Content-Length: 5", b"Content-Length: 5"),
        with_fields(b"Content-Length: 5", b"content-length: 6"),
    ],
    "a name that is not only a name": [
        with_fields(name + b"Transfer-Encoding: chunked", b"Content-Length: 5")
        for name in (b" ", b"\t", b"\x0b", b"\x00", b"\xa0", b"X: a\r", b"X: a\n", b"X\r")
    ]
    + [
        with_fields(b"Content-Length" + between + b": 5")
        for between in (b" ", b"\t", b"\x00", b"\x0b", b"\r", b"\r\n ", b"\xff", b"(", b'"', b"[")
    ]
    + [with_fields(b": a"), with_fields(b"X"), with_fields(b"\xc3\xa9: a"), with_fields(b"X Y: a")],
    "a value with what ends lines or strings": [
        with_fields(b"X: a" + byte + b"b")
        for byte in (b"\x00", b"\r", b"\n", b"\x01", b"\x0b", b"\x0c", b"\x1b", b"\x7f")
    ],
    "a folded line": [
        with_fields(b"X: a", b" b"),
        with_fields(b"X: a", b"\tb"),
        with_fields(b"Transfer-Encoding:", b" chunked"),
        with_fields(b"Content-Length: 5", b" 0"),
        b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    ],
    "a line not ended by CRLF": [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\nGET /x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    "a version that is not 1.0 or 1.1": [
        line(b"GET / " + version)
        for version in (
            *(b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/0.9", b"HTTP/3", b"HTTP/1.10", b"HTTP/1"),
            *(b"HTTP/01.1", b"HTTP/1.1 ", b"HTTP/ 1.1", b"http/1.1", b"HTTP/1,1", b"HTTP/1.1.1"),
            *(b"HTTP/+1.1", b"ICY/1.1", b"RTSP/1.0", b"HTTP/1.1\x00", b"HTTPS/1.1", b""),
        )
    ]
    + [b"GET /\r\n\r\n", b"GET\r\n\r\n", b"/\r\n\r\n"],
    "a request line with more than three parts, or other spaces": [
        line(b"GET  / HTTP/1.1"),
        line(b"GET /  HTTP/1.1"),
        line(b"GET\t/ HTTP/1.1"),
        line(b"GET /\x0bHTTP/1.1"),
        line(b" GET / HTTP/1.1"),
        line(b"GET / x HTTP/1.1"),
        line(b"GET /a\x00b HTTP/1.1"),
        line(b"GET /\xc0\xaf HTTP/1.1"),
        line(b"GET /a\rb HTTP/1.1"),
        line(b"GET /#a HTTP/1.1"),
        line(b"G@T / HTTP/1.1"),
        line(b"GET: / HTTP/1.1"),
    ],
    "a target of no form": [
        line(b"GET * HTTP/1.1"),
        line(b"GET a:80 HTTP/1.1"),
        line(b"GET ?a HTTP/1.1"),
        line(b"GET a/b HTTP/1.1"),
        line(b"GET http:/// HTTP/1.1"),
        line(b"GET http://u:p@a/ HTTP/1.1"),
        line(b"GET http://a b/ HTTP/1.1"),
        line(b"GET http:\\\\a/ HTTP/1.1"),
        line(b"GET ftp://a/ HTTP/1.1"),
        line(b"CONNECT a:80 HTTP/1.1"),
        b"GET http://a/ HTTP/1.1\r\n\r\n",
    ],
    "a host that is not one host": [
        with_host(value)
        for value in (
            *(b"", b"a, b", b"a b", b"a,b", b"u@a", b"u:p@a", b"a/b", b"a?b", b"a#b", b"http://a"),
            *(b"a%2eb", b"a%00b", b"a:b", b"a:-1", b"a:+80", b"a:80:80", b"a:65536", b"a:999999"),
            *(b"[::1", b"::1", b"[::1]a", b"[:::::]", b"[1.2.3.4]", b"[fe80::1%25eth0]", b"[]"),
            *(b"a..b", b".a", b"..", b"a\x00", b"a\xff", b"a;b", b"(a)", b"a\\b", b"a" * 256),
        )
    ]
    + [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhOsT: b\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
    ],
    "what HTTP/1.0 does not have": [
        b"POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n" + LENGTH + b"\r\nhello",
        b"POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKED + LENGTH + b"\r\n0\r\n\r\n",
    ],
    "a chunk size that is not plainly hexadecimal": [
        chunks(size + b"\r\nhello\r\n0\r\n\r\n")
        for size in (
            *(
                b"",
                b"+5",
                b"-5",
                b"0x5",
                b"0X5",
                b"5_0",
                b"5h",
                b" 5",
                b"\t5",
                b"5 ",
                b"5\t",
                b"5,5",
            ),
            *(b"g", b"5\x00", b"5\x0b", b"\xef\xbc\x95", b"10000000000000005", b"ffffffffffffffff"),
            *(b"00000000000000005", b"5.0", b"'5'", b"5h;a"),
        )
    ],
    "a chunk extension that hides a line's end": [
        chunks(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
        for extension in (
            *(b";", b" ;a", b"; a=b", b";a\x00", b";a\n", b";a\rb", b';a="b', b';a="\r\n"', b";=b"),
            *(b";a=", b";a b", b";a=\x7f", b";" + b"a" * 2000),
        )
    ],
    "a chunk that does not end where its size says": [
        chunks(b"5\r\nhelloX0\r\n\r\n"),
        chunks(b"5\r\nhello0\r\n\r\n"),
        chunks(b"3\r\nhello\r\n0\r\n\r\n"),
        chunks(b"5\r\nhello\n0\r\n\r\n"),
        chunks(b"5\r\nhello\r0\r\n\r\n"),
        chunks(b"5\nhello\r\n0\r\n\r\n"),
        chunks(b"5\rhello\r\n0\r\n\r\n"),
        chunks(b"0\r\n\n" + b"x" * 10),
        chunks(b"0\n\r\n"),
    ],
    "a trailer section that is none": [
        chunks(b"0\r\n" + trailer + b"\r\n\r\n")
        for trailer in (
            *(b"GET /x HTTP/1.1", b"X : a", b": a", b"X: a\r\n b", b" X: a", b"X: a\nY: b", b"X"),
            *(b"X: a\x00", b"X\x00: a", b"X: a\rY: b", b"X: " + b"a" * 9000),
        )
    ],
}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(each, id=f"{name} {number}")
        for name, group in REFUSED.items()
        for number, each in enumerate(group)
    ],
)
@pytest.mark.parametrize("size", [0, 1], ids=["at once", "byte by byte"])
def test_what_has_two_readings_is_refused_and_nothing_behind_it_is_read(
    sent: bytes, size: int
) -> None:
    data = sent + NEXT
    outcome = talk(*([data[at : at + 1] for at in range(len(data))] if size else [data]))
    assert outcome.statuses in ([400], [414], [431])
    assert outcome.closed
    assert not any(one.target == b"/next" for one in outcome.reached)


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (HEAD + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (HEAD + b"TRANSFER-ENCODING: Chunked\r\n\r\n0005\r\nhello\r\n00\r\n\r\n", b"hello"),
        (HEAD + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", b""),
        (HEAD + CHUNKED + b'\r\n5;a;b=c;d="e;\\"f"\r\nhello\r\n0;g\r\n\r\n', b"hello"),
        (
            HEAD + CHUNKED + b"\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            b"0123456789" * 2,
        ),
        (HEAD + b"Content-Length: 005\r\n\r\nhello", b"hello"),
        (HEAD + b"Content-Length:5\t\r\n\r\nhello", b"hello"),
        (HEAD + b"Connection: Content-Length\r\n" + LENGTH + b"\r\nhello", b"hello"),
        (HEAD + b"Connection: Transfer-Encoding, Host\r\n" + CHUNKED + b"\r\n0\r\n\r\n", b""),
        (
            HEAD + b"Transfer_Encoding: chunked\r\nContent_Length: 9\r\n" + LENGTH + b"\r\nhello",
            b"hello",
        ),
        (HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\nhello", b"hello"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + LENGTH + b"\r\nhello", b"hello"),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_what_has_one_reading_is_written_anew_and_the_next_request_is_the_next(
    sent: bytes, body: bytes
) -> None:
    outcome = talk(sent + NEXT)
    assert outcome.statuses == [200, 200]
    first, second = outcome.reached
    assert first.body == body
    assert (second.method, second.target) == (b"GET", b"/next")
    lengths, codings = first.values(b"content-length"), first.values(b"transfer-encoding")
    assert lengths + codings in ([], [b"chunked"], [b"%d" % len(body)])
    assert not any(b"_" in name for name, _ in first.fields)


@pytest.mark.parametrize(
    "name",
    [
        *(b"Content-Length", b"Transfer_Encoding", b"Host", b"Trailer", b"Connection", b"TE"),
        *(b"Content_Length", b"X-Forwarded-For", b"Forwarded", b"X-Request-Id", b"Cookie"),
        *(b"Authorization", b"Expect", b"Upgrade", b"Content-Type", b"Content-Encoding"),
    ],
)
def test_a_trailer_says_nothing_about_framing_or_who_sent_it(name: bytes) -> None:
    outcome = talk(chunks(b"5\r\nhello\r\n0\r\n" + name + b": 7\r\nX-Sum: 1\r\n\r\n") + NEXT)
    assert outcome.statuses == [200, 200]
    assert [one.body for one in outcome.reached] == [b"hello", b""]


@pytest.mark.parametrize(
    ("sent", "target", "host"),
    [
        (b"GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", b"/x?y", b"b:80"),
        (b"GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", b"/", b"b"),
        (b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", b"*", b"b"),
        (b"OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", b"/", b"b"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"*", b"a"),
        (b"GET //b/ HTTP/1.1\r\nHost: a\r\n\r\n", b"//b/", b"a"),
        (b"GET /%2e%2e/%00%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", b"/%2e%2e/%00%0d%0a", b"a"),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", b"/", b"[2001:db8::1]:8080"),
        (b"GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]\r\n\r\n", b"/", b"[::ffff:1.2.3.4]"),
        (b"GET / HTTP/1.1\r\nHost: a.b.\r\n\r\n", b"/", b"a.b."),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"/", b"127.0.0.1:80"),
    ],
)
def test_an_instance_is_told_one_target_and_one_host(
    sent: bytes, target: bytes, host: bytes
) -> None:
    outcome = talk(sent)
    (one,) = outcome.reached
    assert (one.target, one.values(b"host")) == (target, [host])
    assert one.values(b"x-forwarded-host") == [host]


@pytest.mark.parametrize(
    "value", [b"h2c", b"H2C", b"h2", b"HTTP/2.0", b"http/2", b"h2c/1", b"websocket, h2c", b"h2c, x"]
)
def test_http_2_is_never_opened_by_an_upgrade(value: bytes) -> None:
    outcome = talk(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        + value
        + b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        + NEXT
    )
    assert outcome.statuses == [200, 200]
    for name in (b"upgrade", b"connection", b"http2-settings"):
        assert outcome.reached[0].values(name) == []


@pytest.mark.parametrize(
    "value",
    [b"", b"100-continue, x", b"x", b"100-continue\r\nExpect: 100-continue", b"100 continue"],
)
def test_what_else_is_expected_is_417_and_the_body_is_not_taken_for_a_request(value: bytes) -> None:
    outcome = talk(with_fields(b"Expect: " + value, b"Content-Length: %d" % len(NEXT)) + NEXT)
    assert (outcome.statuses, outcome.closed, outcome.reached) == ([417], True, [])


@pytest.mark.parametrize(
    ("option", "named"),
    [(b"X-Internal", True), (b"close, X-Internal", True), (b"keep-alive", False), (b"TE", False)],
)
def test_what_connection_names_ends_at_the_router(option: bytes, named: bool) -> None:
    outcome = talk(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + option + b"\r\nX-Internal: 1\r\n"
        b"Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nTE: gzip\r\n\r\n"
    )
    (one,) = outcome.reached
    assert one.values(b"x-internal") == ([] if named else [b"1"])
    for name in (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te"):
        assert one.values(name) == []
