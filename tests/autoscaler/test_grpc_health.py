from __future__ import annotations

import hypothesis.strategies as st
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from hypothesis import example, given

from windlass.autoscaler.grpc_health import (
    MAX_ANSWER,
    HealthCall,
    framed,
    health_request,
    serving_status,
    unframed,
)

SERVING = framed(b"\x08\x01")
HEAD = ((":status", "200"), ("content-type", "application/grpc"))
OK = (("grpc-status", "0"),)

Fields = tuple[tuple[str, str], ...]


def answered(
    body: bytes = SERVING, head: Fields = HEAD, trailers: Fields = OK
) -> tuple[list[tuple[bytes, bytes]], bytes, bytes]:
    """Return what a server of h2's gets of a call, as fields and body, and its answer's bytes."""
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    request: tuple[list[tuple[bytes, bytes]], bytes] = [], b""
    for event in server.receive_data(HealthCall("shop.Orders", "127.0.0.1:8080").outgoing()):
        if isinstance(event, RequestReceived):
            request = [(bytes(name), bytes(value)) for name, value in event.headers], b""
        elif isinstance(event, DataReceived):
            request = request[0], request[1] + event.data
        elif isinstance(event, StreamEnded):
            server.send_headers(1, head)
            server.send_data(1, body)
            server.send_headers(1, trailers, end_stream=True)
    return *request, server.data_to_send()


def verdict(answer: bytes, piece: int = MAX_ANSWER) -> bool | None:
    """Return what a call makes of an answer that comes in pieces."""
    call = HealthCall("shop.Orders", "127.0.0.1:8080")
    call.outgoing()
    for start in range(0, len(answer), piece):
        assert call.passed is None
        call.take(answer[start : start + piece])
    return call.passed


def test_the_call_is_one_of_grpc() -> None:
    fields, body, _ = answered()
    assert fields == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/grpc.health.v1.Health/Check"),
        (b":authority", b"127.0.0.1:8080"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    assert body == b"\0\0\0\0\x0d\x0a\x0bshop.Orders"


@given(st.integers(1, 200))
def test_an_answer_is_complete_at_its_last_byte(piece: int) -> None:
    *_, answer = answered()
    assert verdict(answer, piece) is True
    assert verdict(answer[:-1], piece) is None


@pytest.mark.parametrize(
    ("body", "head", "trailers"),
    [
        (framed(b"\x08\x02"), HEAD, OK),  # NOT_SERVING
        (framed(b"\x08\x03"), HEAD, OK),  # SERVICE_UNKNOWN
        (framed(b""), HEAD, OK),  # UNKNOWN, which protobuf leaves out
        (framed(b"\x08"), HEAD, OK),
        (SERVING + SERVING, HEAD, OK),
        (SERVING[:-1], HEAD, OK),
        (b"\1" + SERVING[1:], HEAD, OK),  # compressed
        (b"", HEAD, OK),
        (SERVING, HEAD, (("grpc-status", "12"),)),
        (SERVING, HEAD, (("a", "b"),)),
        (SERVING, ((":status", "503"), *HEAD[1:]), OK),
    ],
)
def test_any_other_answer_fails(body: bytes, head: Fields, trailers: Fields) -> None:
    *_, answer = answered(body, head, trailers)
    assert verdict(answer) is False


def test_a_server_that_ends_the_connection_or_the_call_fails() -> None:
    *_, answer = answered()
    goaway, reset = b"\0\0\x08\7\0\0\0\0\0" + bytes(8), b"\0\0\4\3\0\0\0\0\1\0\0\0\x08"
    settings = b"\0\0\0\4\0\0\0\0\0"
    for end in (goaway, reset):
        assert verdict(settings + end) is False
    call = HealthCall("", "a")
    call.take(answer[:-1])
    call.take(b"")
    assert call.passed is False


def test_a_server_that_talks_without_end_fails() -> None:
    settings = b"\0\0\0\4\0\0\0\0\0"
    assert verdict(settings * (MAX_ANSWER // len(settings))) is None
    assert verdict(settings * (MAX_ANSWER // len(settings) + 1)) is False


@given(st.data())
def test_no_bytes_are_too_strange(data: st.DataObject) -> None:
    *_, answer = answered()
    spoilt = bytearray(answer)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(spoilt)))
        length = data.draw(st.integers(0, 3))
        spoilt[position : position + length] = data.draw(st.binary(max_size=4))
    call = HealthCall("a", "b")
    call.take(bytes(spoilt))
    call.take(b"")
    assert call.passed is not None


@given(st.binary())
def test_a_message_is_framed_and_unframed(message: bytes) -> None:
    assert unframed(framed(message)) == message
    for other in (framed(message) + b"\0", framed(message)[:-1], b"\1" + framed(message)[1:]):
        with pytest.raises(ValueError, match="is not one message"):
            unframed(other)


def test_a_request_names_the_service_unless_all_are_meant() -> None:
    assert health_request("") == b""
    assert health_request("é") == b"\x0a\2\xc3\xa9"
    assert health_request("a" * 300) == b"\x0a\xac\2" + b"a" * 300


FIELDS = st.one_of(
    st.sampled_from([b"\x10\x96\1", b"\x18" + b"\xff" * 9 + b"\1"]),  # numbers
    st.binary(min_size=8, max_size=8).map(lambda raw: b"\x11" + raw),
    st.binary(min_size=4, max_size=4).map(lambda raw: b"\x15" + raw),
    st.binary(max_size=100).map(lambda raw: b"\x12" + bytes([len(raw)]) + raw),
    st.binary(max_size=100).map(lambda raw: b"\x0a" + bytes([len(raw)]) + raw),  # 1, but no number
)


@given(st.lists(FIELDS), st.lists(FIELDS), st.integers(0, 127))
def test_the_status_is_found_among_fields_of_a_later_protocol(
    before: list[bytes], after: list[bytes], status: int
) -> None:
    message = b"".join([*before, b"\x08\7\x08", bytes([status]), *after])
    assert serving_status(message) == status
    assert serving_status(b"".join(before)) == 0


@given(st.binary(max_size=40))
@example(b"\x08" + b"\xff" * 10 + b"\1")
@example(b"\x0b\x0c")
@example(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_what_is_not_protobuf_is_a_value_error_at_worst(message: bytes) -> None:
    try:
        assert serving_status(message) >= 0
    except ValueError as error:
        assert "cut off" in str(error) or "wire type" in str(error)  # noqa: PT017  (to pass is right, too)
