"""Clients that bring their body or take their answer too slowly, on transports in memory."""

from __future__ import annotations

import asyncio
import socket

from tests.router.test_http1_bytes import ANSWER, Wire, get

from windlass.router.stall import MIN_PROGRESS, unread

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


def look(wire: Wire) -> None:
    """Let the moment come at which the connection is to be looked at."""
    assert wire.client.deadline
    wire.client.expire(wire.client.deadline)


def test_a_body_that_does_not_come_is_a_408_and_frees_its_slot() -> None:
    wire = Wire()
    wire.send(POST + b"x" * (MIN_PROGRESS - 1))
    look(wire)
    assert wire.to_client.written.startswith(b"HTTP/1.1 408 ")
    assert b"body-timeout" in wire.to_client.written
    assert wire.to_client.closed
    assert wire.to_instance.closed
    assert wire.pool.counts.in_flight == 0


def test_a_body_that_comes_fast_enough_may_last_until_the_requests_time_is_over() -> None:
    wire = Wire()
    wire.send(POST)
    for _ in range(9):
        wire.send(b"x" * MIN_PROGRESS)
        look(wire)
        assert not wire.to_client.written
    wire.send(b"x" * MIN_PROGRESS)
    look(wire)
    assert wire.to_client.written.startswith(b"HTTP/1.1 504 ")


def test_what_the_chunks_framing_weighs_is_no_progress() -> None:
    wire = Wire()
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send(b"1;a=b\r\nx\r\n" * 1000)
    look(wire)
    assert wire.to_client.written.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_was_held_back_is_not_slow() -> None:
    wire = Wire()
    wire.send(POST)
    wire.upstream.pause_writing()
    wire.upstream.resume_writing()
    look(wire)
    assert not wire.to_client.written
    look(wire)
    assert wire.to_client.written.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_waits_for_100_continue_is_not_slow() -> None:
    wire = Wire()
    wire.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    look(wire)
    look(wire)
    assert not wire.to_client.written


def test_an_instance_that_answers_already_lets_the_body_take_its_time() -> None:
    wire = Wire()
    wire.send(POST)
    wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    look(wire)
    look(wire)
    assert not wire.to_client.closed


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    wire = Wire()
    wire.send(get("/"))
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000)
    wire.to_client.unread = 70000
    wire.client.pause_writing()
    look(wire)
    for _ in range(3):
        wire.to_client.unread -= MIN_PROGRESS
        look(wire)
        assert not wire.to_client.closed
    wire.to_client.unread -= MIN_PROGRESS - 1
    look(wire)
    assert wire.to_client.closed
    wire.client.connection_lost(None)
    assert wire.pool.counts.in_flight == 0


def test_a_client_that_takes_the_end_of_its_answer_slowly_is_not_taken_for_idle() -> None:
    wire = Wire()
    wire.client.pause_writing()
    wire.send(get("/"))
    wire.to_client.unread = 2 * MIN_PROGRESS
    wire.answer()
    look(wire)
    wire.to_client.unread = MIN_PROGRESS
    look(wire)
    wire.client.resume_writing()
    wire.send(get("/"))
    wire.answer()
    assert wire.to_client.written == ANSWER * 2


def test_an_answer_that_is_never_taken_does_not_keep_its_connection() -> None:
    wire = Wire()
    wire.send(get("/", "Connection: close"))
    wire.answer()
    assert wire.to_client.closed
    wire.to_client.closed = False
    wire.to_client.is_closing = lambda: True  # type: ignore[method-assign]  # it is being flushed
    look(wire)
    assert wire.to_client.closed


async def test_unread_counts_what_the_kernel_holds() -> None:
    near, far = socket.socketpair()
    with far:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=near
        )
        assert unread(transport) == 0
        transport.write(b"x" * 10_000)
        assert unread(transport) >= 10_000
        transport.abort()
        await asyncio.sleep(0)
