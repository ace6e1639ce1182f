"""What an instance may not answer, and what it may: a connection in doubt is closed."""

from __future__ import annotations

import pytest

from windlass.bench.memory import Wire
from windlass.router.upstream import MAX_HEAD, MAX_INFORMATIONAL

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"
LINE = b"HTTP/1.1 200 OK\r\n"
OK = LINE + b"Content-Length: 2\r\n\r\nok"


class Answered:
    """A client's request and what came of the instance's answer."""

    def __init__(self, request: bytes, *answer: bytes, closes: bool = False) -> None:
        self.wire = Wire()
        client = self.wire.client()
        client.bring(request)
        self.wire.connects.answer(succeed=True)
        (instance,) = self.wire.connects.transports
        for part in answer:
            instance.bring(part)
        if closes:
            instance.ended = True
        if instance.ended:
            instance.protocol.connection_lost(None)
        self.said = bytes(client.written)
        self.client_closed = client.ended or client.half_closed
        self.kept = bool(self.wire.endpoint.idle)  # for another request
        self.closed = instance.ended
        self.in_flight = self.wire.pool.counts.in_flight
        client.ended = True
        client.protocol.connection_lost(None)
        if not self.closed and not self.kept:
            assert instance.ended  # with its client gone
        instance.protocol.connection_lost(None)
        assert self.wire.leaks() == []

    @property
    def status(self) -> int:
        return int(self.said[9:12])


@pytest.mark.parametrize(
    "answer",
    [
        *(
            line + b"\r\nContent-Length: 0\r\n\r\n"
            for line in (
                *(b"HTTP/1.1 000 A", b"HTTP/1.1 099 A", b"HTTP/1.1 600 A", b"HTTP/1.1 1000 A"),
                *(b"HTTP/1.1 20 A", b"HTTP/1.1 2000", b"HTTP/1.1 200OK", b"HTTP/1.1 +200 OK"),
                *(b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 2\x000 OK", b"HTTP/1.1 abc"),
                *(b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\nK", b"HTTP/1.1"),
                *(b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK"),
                *(b"ICY 200 OK", b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"", b"<html>"),
            )
        ),
        *(
            LINE + fields + b"\r\n\r\nhello"
            for fields in (
                *(b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 5, 5"),
                *(b"Content-Length: +5", b"Content-Length: -5", b"Content-Length: 0x5"),
                *(b"Content-Length:", b"Content-Length: 99999999999999999999"),
                b"Content-Length: 5\r\nTransfer-Encoding: chunked",
                *(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, chunked"),
                *(b"Transfer-Encoding:", b"Transfer-Encoding: identity", b"Transfer-Encoding: x"),
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                *(b"A : b", b"A", b": b", b"A: b\r\n c", b" A: b", b"A: b\nC: d", b"A: b\rC: d"),
                *(b"A: \x00", b"A\x00: b", b"A: \x01", b"A\x80: b", b"Connection: a b"),
            )
        ),
        LINE + b"A: " + b"b" * MAX_HEAD,
        LINE + b"A: b\r\n" * (MAX_HEAD // 6 + 1),
        b"x" * (MAX_HEAD + 1),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INFORMATIONAL + 1),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + b"HTTP/1.1 999 A\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_plainly_http_is_a_502_and_its_connection_is_closed(
    answer: bytes,
) -> None:
    found = Answered(GET, answer)
    assert b"HTTP/1.1 200 " not in found.said
    assert found.said.partition(b"HTTP/1.1 502 ")[2].count(b"bad-response") == 1
    assert found.closed
    assert found.in_flight == 0


@pytest.mark.parametrize(
    "answer",
    [
        LINE + b"Content-Length: 50\r\n\r\nhello",
        LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n",
    ],
)
def test_an_answer_that_ends_too_early_is_broken_off(answer: bytes) -> None:
    found = Answered(GET, answer, closes=True)
    assert found.status == 200
    assert not found.said.endswith(b"0\r\n\r\n")
    assert found.client_closed
    assert found.in_flight == 0


@pytest.mark.parametrize("chunk", [b"5_0", b"+5", b"0x5", b" 5", b"5 ", b"g", b"", b"5;a\n"])
def test_broken_chunks_break_the_answer_off(chunk: bytes) -> None:
    found = Answered(GET, LINE + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"\r\nhello\r\n")
    assert not found.said.endswith(b"0\r\n\r\n")
    assert (found.closed, found.client_closed, found.in_flight) == (True, True, 0)


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (GET, OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        (GET, OK + b"\r\n"),
        (HEAD, LINE + b"Content-Length: 4\r\n\r\nevil"),
        (HEAD, LINE + b"Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
        (GET, LINE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nevil"),
    ],
)
def test_what_comes_behind_an_answer_is_nobodys(request_bytes: bytes, answer: bytes) -> None:
    found = Answered(request_bytes, answer)
    assert b"evil" not in found.said
    assert not found.client_closed  # its answer was whole
    assert (found.kept, found.closed, found.in_flight) == (False, True, 0)


@pytest.mark.parametrize(
    ("request_bytes", "answer", "said"),
    [
        (HEAD, LINE + b"Content-Length: 4\r\n\r\n", LINE + b"Content-Length: 4\r\n\r\n"),
        (GET, b"HTTP/1.1 204 \r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, b"HTTP/1.1 304 \r\nETag: a\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"),
        (GET, b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
        (GET, b"HTTP/1.1 103 \r\nLink: a\r\n\r\n" * 2 + OK, None),
        (GET, b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INFORMATIONAL + OK, None),
    ],
)
def test_an_answer_that_may_be_so_leaves_its_connection_for_the_next(
    request_bytes: bytes, answer: bytes, said: bytes | None
) -> None:
    found = Answered(request_bytes, answer)
    assert (found.kept, found.closed, found.in_flight) == (True, False, 0)
    assert said is None or found.said == said


def test_something_said_unasked_closes_the_connection() -> None:
    wire = Wire()
    client = wire.client()
    client.bring(GET)
    wire.connects.answer(succeed=True)
    (instance,) = wire.connects.transports
    instance.bring(OK)
    instance.bring(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert instance.ended
    assert bytes(client.written) == OK


def test_an_early_answer_ends_both_connections() -> None:
    found = Answered(POST, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    assert found.status == 413
    assert b"Connection: close\r\n" in found.said
    assert (found.client_closed, found.closed, found.in_flight) == (True, True, 0)
