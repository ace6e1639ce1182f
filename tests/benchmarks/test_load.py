from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windlass.bench.load import Load, request_bytes, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from windlass.bench.tally import Snapshot

    Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
    Serve = Callable[[Answer], AbstractAsyncContextManager[int]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def load_on(port: int) -> Load:
    """Return a load of 20 requests in a tenth of a second."""
    return Load(host="127.0.0.1", port=port, host_header="app.localhost", rate=200, duration=0.1)


def writing(data: bytes, *, close: bool = False) -> Answer:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()

    return answer


async def test_every_request_of_the_schedule_is_sent_and_answered(serve: Serve) -> None:
    async with serve(writing(OK)) as port:
        result = await run(load_on(port))
    assert result.requests == result.latency.count == result.statuses[200] == 20
    assert result.error_count == 0
    assert sum(second.requests for second in result.timeline) == 20


async def test_connections_are_kept_alive(serve: Serve) -> None:
    async with serve(writing(OK)) as port:
        result = await run(replace(load_on(port), clients=1))
    assert result.requests > 1
    assert result.connections == 1


async def test_arrivals_do_not_wait_for_answers(serve: Serve) -> None:
    waiting: list[asyncio.StreamWriter] = []

    async def answer_all_when_the_last_is_here(head: bytes, writer: asyncio.StreamWriter) -> None:
        waiting.append(writer)
        if len(waiting) == 20:
            for each in waiting:
                each.write(OK)

    async with serve(answer_all_when_the_last_is_here) as port:
        result = await run(load_on(port))
    assert result.peak_in_flight == result.connections == 20
    assert result.error_count == 0


@pytest.mark.slow
async def test_a_server_that_stalls_once_shows_in_the_high_percentiles(serve: Serve) -> None:
    requests, going_on = 0, asyncio.Event()
    going_on.set()

    async def stall_once(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        if requests == 5:
            going_on.clear()
            asyncio.get_running_loop().call_later(0.15, going_on.set)
        await going_on.wait()
        writer.write(OK)

    async with serve(stall_once) as port:
        result = await run(replace(load_on(port), duration=0.3))
    # 30 of the 60 requests were due while it stalled and waited for 75 ms on average.
    assert result.latency.percentile(99) >= 140_000_000
    assert result.latency.percentile(75) >= 60_000_000


async def test_a_request_over_its_time_is_an_error_and_counts_as_slow(serve: Serve) -> None:
    async def never(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serve(never) as port:
        result = await run(replace(load_on(port), duration=0.01, timeout=0.1))
    assert result.errors == {"no whole answer in 0.1 s": 2}
    assert result.latency.count == 2
    assert result.latency.percentile(50) >= 100_000_000


async def test_a_status_of_400_and_above_is_an_error(serve: Serve) -> None:
    async with serve(writing(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as port:
        result = await run(load_on(port))
    assert result.errors == {"status 503": 20}
    assert result.statuses == {503: 20}
    assert result.latency.count == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "connection closed before the answer"),
        (OK[:-1], "connection closed in the middle of the answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "connection closed in the middle of the answer",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "switched protocols",
        ),
    ],
)
async def test_an_answer_that_is_not_whole_is_an_error(
    serve: Serve, data: bytes, reason: str
) -> None:
    async with serve(writing(data, close=True)) as port:
        result = await run(load_on(port))
    assert result.errors == {reason: 20}


async def test_a_broken_answer_is_an_error(serve: Serve) -> None:
    async with serve(writing(b"SMTP 220 hello\r\n\r\n")) as port:
        result = await run(load_on(port))
    assert result.error_count == 20
    assert all(reason.startswith("broken answer: ") for reason in result.errors)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_server_may_close_after_each_answer(serve: Serve, data: bytes) -> None:
    async with serve(writing(data, close=True)) as port:
        result = await run(load_on(port))
    assert result.error_count == 0
    assert result.statuses == {200: 20}
    assert result.connections == 20


async def test_an_interim_answer_is_not_the_answer(serve: Serve) -> None:
    async with serve(writing(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)) as port:
        result = await run(load_on(port))
    assert result.statuses == {200: 20}


async def test_nobody_listening_is_an_error_of_each_request() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        result = await run(
            Load(host="127.0.0.1", port=port, host_header="x", rate=100, duration=0.05)
        )
    assert result.requests == result.error_count == 5
    assert all(reason.startswith("connect: ") for reason in result.errors)


async def test_over_the_bound_of_connections_a_request_is_an_error(serve: Serve) -> None:
    async def later(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(OK)

    async with serve(later) as port:
        result = await run(replace(load_on(port), max_connections=3))
    assert result.connections == result.statuses[200] == 3
    assert result.errors == {"all 3 connections in use": 17}


async def test_clients_of_a_closed_loop_wait_for_their_answers(serve: Serve) -> None:
    in_flight: set[asyncio.StreamWriter] = set()
    peak = 0

    async def count(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal peak
        in_flight.add(writer)
        peak = max(peak, len(in_flight))
        await asyncio.sleep(0)
        in_flight.discard(writer)
        writer.write(OK)

    async with serve(count) as port:
        result = await run(replace(load_on(port), clients=3))
    assert peak <= result.peak_in_flight == 3
    assert result.connections == 3
    assert result.error_count == 0


async def test_a_client_pauses_after_an_error(serve: Serve) -> None:
    async with serve(writing(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as port:
        result = await run(replace(load_on(port), clients=1))
    assert result.requests <= 2


@pytest.mark.slow
async def test_what_the_server_says_it_took_is_counted(serve: Serve) -> None:
    answer = OK.replace(b"\r\n", b"\r\nServer-Timing: queue;dur=9, app;dur=203.117\r\n", 1)
    async with serve(writing(answer)) as port:
        result = await run(load_on(port))
    assert result.work.count == result.requests > 0
    assert result.work.mean == 203_117_000


async def test_requests_may_be_sent_at_given_moments(serve: Serve) -> None:
    async with serve(writing(OK)) as port:
        result = await run(replace(load_on(port), moments=(0.05, 0.1, 0.1, 0.3), rate=1000))
    assert (result.requests, result.error_count) == (4, 0)
    assert result.elapsed >= 0.3


async def test_progress_is_said_while_it_runs(serve: Serve) -> None:
    said: list[Snapshot] = []
    async with serve(writing(OK)) as port:
        result = await run(replace(load_on(port), duration=0.7), said.append)
    first, last = said
    assert 0 < first.requests < result.requests == last.requests == 140
    assert first.p50 is not None
    assert last.latency is not None
    assert last.latency[0] <= last.latency[1] <= last.latency[2]


async def test_a_cancelled_load_leaves_no_connection(serve: Serve) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(head: bytes, writer: asyncio.StreamWriter) -> None:
        begun.set()
        try:
            while True:  # a write to a connection that is gone raises in the end
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            closed.set()

    async with serve(wait_for_the_end) as port:
        task = asyncio.create_task(run(replace(load_on(port), clients=1)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 5)


def test_a_request_has_host_headers_and_the_length_of_its_body() -> None:
    load = Load(
        host="127.0.0.1",
        port=80,
        host_header="app.localhost",
        method="POST",
        path="/up?x=1",
        headers=(("Accept", "*/*"),),
        body=b"abc",
    )
    assert request_bytes(load) == (
        b"POST /up?x=1 HTTP/1.1\r\nHost: app.localhost\r\nAccept: */*\r\n"
        b"Content-Length: 3\r\n\r\nabc"
    )


async def test_a_load_without_clients_is_refused() -> None:
    with pytest.raises(ValueError, match="clients must be at least 1, not 0"):
        await run(Load(host="127.0.0.1", port=1, host_header="x", clients=0))
