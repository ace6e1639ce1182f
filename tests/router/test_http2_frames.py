"""HTTP/2 frames are cut apart and counted, however their bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.router.http2_frames import (
    CONTINUATION,
    DATA,
    END_STREAM,
    HEADERS,
    MAX_FRAME,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    Flood,
    FloodGuard,
    Frame,
    FrameReader,
    FrameTooLarge,
    read_goaway,
)
from windlass.router.pool import SECOND


def raw(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 1]) + payload


def frame(kind: int, flags: int = 0, length: int = 0) -> Frame:
    return Frame(kind, flags, length, b"")


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40))),
    st.lists(st.integers(0, 60)),
)
def test_frames_are_the_same_however_their_bytes_are_cut(
    frames: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(raw(*each) for each in frames)
    reader = FrameReader()
    found = []
    for cut in cuts:
        found += list(reader.feed(data[:cut]))
        data = data[cut:]
    found += list(reader.feed(data))
    assert found == [Frame(k, f, len(p), raw(k, f, p)) for k, f, p in frames]


def test_a_frame_over_the_limit_is_refused_by_its_head() -> None:
    with pytest.raises(FrameTooLarge):
        list(FrameReader().feed((MAX_FRAME + 1).to_bytes(3, "big") + bytes(6)))


def test_what_clients_in_use_send_is_no_flood() -> None:
    guard = FloodGuard()
    for second in range(60):
        for _ in range(1000):
            guard.count(frame(DATA, length=1), second * SECOND)
            guard.count(frame(WINDOW_UPDATE, length=4), second * SECOND)
            guard.count(frame(HEADERS, length=100), second * SECOND)
        for _ in range(10):
            guard.count(frame(PING, length=8), second * SECOND)
        for _ in range(50):
            guard.count(frame(RST_STREAM, length=4), second * SECOND)


@pytest.mark.parametrize(
    ("kind", "flags", "most"),
    [(RST_STREAM, 0, 400), (PING, 0, 100), (4, 0, 20), (DATA, 0, 100), (2, 0, 1000), (99, 0, 1000)],
)
def test_a_flood_is_stopped_at_its_limit_and_forgiven_with_time(
    kind: int, flags: int, most: int
) -> None:
    guard = FloodGuard()
    for _ in range(most):
        guard.count(frame(kind, flags), SECOND)
    with pytest.raises(Flood):
        guard.count(frame(kind, flags), SECOND)
    guard.count(frame(kind, flags), 2 * SECOND)


def test_the_end_of_a_stream_is_no_empty_frame() -> None:
    guard = FloodGuard()
    for _ in range(1000):
        guard.count(frame(DATA, END_STREAM), SECOND)


@pytest.mark.parametrize(("length", "frames"), [(0, 9), (MAX_FRAME, 2)])
def test_a_header_block_has_an_end(length: int, frames: int) -> None:
    guard = FloodGuard()
    guard.count(frame(HEADERS, length=length), SECOND)
    for _ in range(frames - 1):
        guard.count(frame(CONTINUATION, length=length), SECOND)
    with pytest.raises(Flood):
        guard.count(frame(CONTINUATION, length=length), SECOND)


def test_a_goaway_that_is_too_short_is_an_error() -> None:
    assert read_goaway(Frame(7, 0, 4, raw(7, 0, bytes(4)))) == (0, 1)
    whole = raw(7, 0, b"\x80\0\0\x05\0\0\0\x02")
    assert read_goaway(Frame(7, 0, 8, whole)) == (5, 2)
