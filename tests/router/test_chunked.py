"""The chunked coding: what is read, at every way of cutting it, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.router.chunked import MAX_SIZE_LINE, MAX_TRAILER, ChunkedBody, encode_chunk
from windlass.router.grammar import Malformed


def read(pieces: list[bytes]) -> tuple[bytes, ChunkedBody]:
    chunked = ChunkedBody()
    body = b""
    while pieces and not chunked.done:
        body += chunked.feed(pieces.pop(0))
    return body, chunked


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds)]


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=8),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
    trailer=st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: b\r\nC: d\r\n"]),
)
def test_a_body_is_the_same_however_it_is_cut(
    chunks: list[bytes], cuts: list[int], trailer: bytes
) -> None:
    data = b"".join(encode_chunk(chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
    body, chunked = read(cut(data, cuts))
    assert body == b"".join(chunks)
    assert (chunked.done, chunked.trailers, chunked.rest) == (True, trailer, b"")


@given(st.binary(max_size=60), st.lists(st.integers(0, 1000), max_size=6))
def test_any_bytes_are_read_or_refused_alike_however_they_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            body, chunked = read(pieces)
        except Malformed:
            return None
        return body, chunked.done

    whole = outcome([b"3\r\nabc\r\n" + data])
    parts = outcome(cut(b"3\r\nabc\r\n" + data, cuts))
    if whole is not None:
        assert parts in (whole, None)


def test_what_follows_the_body_is_left_for_the_next_request() -> None:
    body, chunked = read([b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n"])
    assert (body, chunked.rest) == (b"a", b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "line",
    [b"5;a", b"5;a=b", b'5;a="b;c\\"d"', b"00005", b"5;a=b;c", b"5;" + b"a" * 1000],
)
def test_extensions_are_dropped(line: bytes) -> None:
    assert read([line + b"\r\nhello\r\n0\r\n\r\n"])[0] == b"hello"


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" 5", b"5 ", b"+5", b"-5", b"0x5", b"5_0", b"g", b"5;", b"5 ;a", b"5;a\x00"),
        *(b"5;a=\x01", b'5;a="b', b"5\t", b"5\r", b"fffffffffffffffff", b"ffffffffffffffff"),
        *(b"5;" + b"a" * MAX_SIZE_LINE, b"\xef\xbc\x95"),
    ],
)
def test_a_size_that_is_not_plainly_hexadecimal_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        read([line + b"\r\nhello\r\n0\r\n\r\n"])


@pytest.mark.parametrize(
    "data",
    [
        *(b"5\nhello\r\n", b"5\r\nhello\n0\r\n", b"5\r\nhello0\r\n", b"5\r\nhelloX\r\n"),
        *(b"5\r\nhello\r0", b"0\r\n\n", b"0\r\nA: b\nC: d\r\n\r\n", b"0\r\nA : b\r\n\r\n"),
        *(b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\n: b\r\n\r\n", b"0\r\nA: " + b"b" * MAX_TRAILER),
        *(b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"5" * 2000),
    ],
)
def test_a_broken_body_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read([data])
    with pytest.raises(Malformed):
        read([data[n : n + 1] for n in range(len(data))])


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"te", b"Host", b"Authorization", b"Set-Cookie"]
)
def test_what_says_who_or_how_long_is_no_trailer(name: bytes) -> None:
    _, chunked = read([b"0\r\n" + name + b": 1\r\nX-Sum: 2\r\n\r\n"])
    assert chunked.trailers == b"X-Sum: 2\r\n"
