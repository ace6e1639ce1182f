"""HTTP/2 clients that bring a body or take an answer too slowly, on transports in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamReset
from h2.settings import SettingCodes
from tests.router.test_http1_bytes import MemoryTransport, Wire

from windlass.router.http2 import ClientSession
from windlass.router.http2_flow import MAX_PENDING
from windlass.router.http2_session import MAX_UNTAKEN
from windlass.router.stall import MIN_PROGRESS, STALL_TIME

if TYPE_CHECKING:
    from windlass.router.http2_stream import Stream

LARGE = MAX_PENDING + 100_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE


class Http2Wire(Wire):
    """A client that speaks HTTP/2 before the one connection to an instance."""

    def __init__(self, window: int = 65535) -> None:
        super().__init__()
        self.to_client = MemoryTransport()
        self.session = ClientSession(self.client.dispatch)
        self.session.connection_made(cast("asyncio.BaseTransport", self.to_client))
        self.peer = H2Connection(H2Configuration(client_side=True))
        self.peer.initiate_connection()
        self.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.heard: list[Event] = []

    async def turn(self) -> None:
        """Let each side have what the other one has sent."""
        for _ in range(3):
            if data := self.peer.data_to_send():
                self.session.data_received(data)
            await asyncio.sleep(0)
            data, self.to_client.written = self.to_client.written, b""
            self.heard += self.peer.receive_data(data)

    async def request(self, *fields: tuple[str, str], end: bool = True) -> Stream:
        number = self.peer.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        self.peer.send_headers(number, [*head, *fields], end_stream=end)
        await self.turn()
        return self.session.streams[number]

    async def look(self) -> None:
        """Let the moment come at which the connection is to be looked at."""
        assert self.session.deadline
        self.session.expire(self.session.deadline)
        await self.turn()

    def resets(self) -> list[int]:
        return [int(one.error_code or 0) for one in self.heard if isinstance(one, StreamReset)]

    def statuses(self) -> list[str]:
        return [
            str(dict(one.headers)[b":status"], "ascii")
            for one in self.heard
            if isinstance(one, ResponseReceived)
        ]

    def assert_free(self) -> None:
        assert not self.session.streams
        assert self.pool.counts.in_flight == self.endpoint.in_flight == 0


async def test_a_body_that_does_not_come_is_a_408_and_frees_its_slot() -> None:
    wire = Http2Wire()
    stream = await wire.request(end=False)
    wire.peer.send_data(stream.stream_id, b"x" * (MIN_PROGRESS - 1))
    await wire.turn()
    await wire.look()
    assert wire.statuses() == ["408"]
    assert b"body-timeout" in b"".join(
        e.data or b"" for e in wire.heard if isinstance(e, DataReceived)
    )
    assert wire.to_instance.closed
    wire.assert_free()
    assert not wire.to_client.closed  # the connection and its other requests go on


async def test_a_body_that_comes_fast_enough_may_last_until_the_requests_time_is_over() -> None:
    wire = Http2Wire()
    stream = await wire.request(end=False)
    for _ in range(9):
        wire.peer.send_data(stream.stream_id, b"x" * MIN_PROGRESS)
        await wire.turn()
        await wire.look()
        assert not wire.statuses()
    wire.peer.send_data(stream.stream_id, b"x" * MIN_PROGRESS)
    await wire.turn()
    await wire.look()
    assert wire.statuses() == ["504"]
    wire.assert_free()


async def test_padding_and_empty_frames_are_no_progress() -> None:
    wire = Http2Wire()
    stream = await wire.request(end=False)
    for _ in range(50):
        wire.peer.send_data(stream.stream_id, b"x", pad_length=200)
        await wire.turn()
    await wire.look()
    assert wire.statuses() == ["408"]
    wire.assert_free()


async def test_a_body_that_was_held_back_is_not_slow() -> None:
    wire = Http2Wire()
    await wire.request(end=False)
    wire.upstream.pause_writing()
    await wire.look()
    assert not wire.statuses()
    wire.upstream.resume_writing()
    await wire.look()
    assert not wire.statuses()
    await wire.look()
    assert wire.statuses() == ["408"]


@pytest.mark.parametrize(
    "field", [("expect", "100-continue"), ("content-type", "application/grpc+proto")]
)
async def test_who_may_wait_is_not_slow(field: tuple[str, str]) -> None:
    wire = Http2Wire()
    await wire.request(field, end=False)
    for _ in range(3):
        await wire.look()
    assert not wire.statuses()


async def test_an_instance_that_answers_already_lets_the_body_take_its_time() -> None:
    wire = Http2Wire()
    await wire.request(end=False)
    wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        await wire.look()
    assert wire.statuses() == ["200"]
    assert not wire.resets()


@pytest.mark.parametrize("answered", [LARGE, LARGE - 1], ids=["whole", "not yet whole"])
async def test_an_answer_for_which_no_window_opens_is_given_up(answered: int) -> None:
    wire = Http2Wire(window=0)
    await wire.request()
    wire.answer(HEAD + b"x" * answered)
    for _ in range(2):
        await wire.look()
    assert wire.resets() == [ErrorCodes.CANCEL]
    assert wire.to_instance.closed == (answered < LARGE)  # a connection in doubt is not kept
    wire.assert_free()
    assert not wire.session.blocked


async def test_a_client_that_takes_its_answer_slowly_is_served_to_the_end() -> None:
    wire = Http2Wire(window=0)
    stream = await wire.request()
    wire.answer(HEAD + b"x" * LARGE)
    for _ in range(5):
        await wire.look()
        wire.peer.increment_flow_control_window(MIN_PROGRESS, stream.stream_id)
        await wire.turn()
    await wire.look()
    assert not wire.resets()
    wire.peer.increment_flow_control_window(MIN_PROGRESS - 1, stream.stream_id)
    await wire.turn()
    await wire.look()
    assert wire.resets() == [ErrorCodes.CANCEL]
    wire.assert_free()


async def test_a_client_that_does_not_read_at_all_is_cut_off() -> None:
    wire = Http2Wire()
    await wire.request()
    wire.to_client.unread = 200_000
    wire.session.pause_writing()
    wire.session.expire(wire.session.deadline)
    for _ in range(3):
        wire.to_client.unread -= MIN_PROGRESS
        wire.session.expire(wire.session.deadline)
        assert not wire.to_client.closed
    wire.to_client.unread -= MIN_PROGRESS - 1
    wire.session.expire(wire.session.deadline)
    assert wire.to_client.closed
    wire.session.connection_lost(None)
    wire.assert_free()


async def test_a_client_that_reads_again_is_no_more_looked_at() -> None:
    wire = Http2Wire()
    before = wire.session.deadline
    wire.session.pause_writing()
    assert wire.session.deadline < before
    wire.session.resume_writing()
    wire.session.expire(wire.session.deadline)
    assert wire.session.deadline == before


async def test_a_closed_connection_whose_last_words_nobody_takes_is_cut_off() -> None:
    wire = Http2Wire()
    wire.session.terminate(ErrorCodes.ENHANCE_YOUR_CALM)
    assert wire.to_client.closed
    wire.to_client.closed = False  # it is still being flushed
    assert wire.session.deadline
    wire.session.expire(wire.session.deadline)
    assert wire.to_client.closed


async def test_a_client_that_takes_nothing_is_not_read_until_it_does() -> None:
    wire = Http2Wire()
    wire.to_client.unread = MAX_UNTAKEN + 1
    wire.peer.ping(b"12345678")
    await wire.turn()
    assert wire.to_client.paused
    wire.session.resume_writing()
    assert not wire.to_client.paused


async def test_looks_come_after_the_stall_time() -> None:
    wire = Http2Wire()
    stream = await wire.request(end=False)
    assert stream.deadline == wire.session.deadline == stream.began + STALL_TIME
