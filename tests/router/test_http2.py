"""HTTP/2 from a client through the worker to an HTTP/1.1 instance, on real sockets."""

from __future__ import annotations

import asyncio
import json
from time import monotonic_ns
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, SettingsAcknowledged, StreamReset

from windlass.router import http2, http2_flow, http2_stream, link
from windlass.router.http2_session import ALL_STREAMS

if TYPE_CHECKING:
    from tests.router.conftest import Connect, Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def problem(body: bytes) -> str:
    return str(json.loads(body)["type"]).removeprefix("urn:windlass:problem:")


async def never(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.read()
    return False


async def echo(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    body = await reader.readuntil(b"0\r\n")
    body += await reader.readuntil(b"\r\n\r\n") if b"t: " in head else await reader.readexactly(2)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return True


async def test_a_request_reaches_the_instance_as_http_1_1(rig: Rig, connect: Connect) -> None:
    rig.origin.answers("/", OK)
    client = await connect()
    stream = client.request("/?a=b", ("x-own", "1"), ("cookie", "a=1"), ("cookie", "b=2"))
    assert await client.response(stream) == (200, b"hello")
    assert client.head(stream)["content-length"] == "5"
    head = rig.origin.heads[0]
    assert head.startswith(b"GET /?a=b HTTP/1.1\r\nHost: hello.localhost\r\n")
    assert b"x-own: 1\r\n" in head
    assert b"cookie: a=1; b=2\r\n" in head
    assert b"Forwarded: for=127.0.0.1;host=hello.localhost;proto=http\r\n" in head


async def test_streams_are_served_side_by_side(rig: Rig, connect: Connect) -> None:
    rig.origin.answers("/", OK)
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    slow = client.request("/never")
    streams = [client.request("/") for _ in range(20)]
    for stream in streams:
        assert await client.response(stream) == (200, b"hello")
    client.connection.reset_stream(slow, ErrorCodes.CANCEL)
    client.flush()
    await rig.free()


async def test_a_reset_stream_closes_its_connection_to_the_instance(
    rig: Rig, connect: Connect
) -> None:
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    stream = client.request("/never")
    await rig.until(lambda: len(rig.origin.heads) == 1)
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    async with asyncio.timeout(5):
        await rig.origin.gone.acquire()
    await rig.free()
    reports = [
        revision
        for report in rig.node.heard
        if isinstance(report, link.Report)
        for revision in report.revisions
    ]
    not_sent = rig.worker.dispatch.pools["hello-00001"].report(monotonic_ns())
    assert any((499, 1) in one.responses for one in (*reports, not_sent) if one is not None)


async def test_a_body_and_its_trailers_become_chunks(rig: Rig, connect: Connect) -> None:
    rig.origin.handlers[b"/echo"] = echo
    client = await connect()
    stream = client.request("/echo", ("t", ""), method="POST", end=False)
    client.send(stream, b"hello")
    client.connection.send_headers(stream, [("x-sum", "1"), ("host", "a")], end_stream=True)
    client.flush()
    assert await client.response(stream) == (200, b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")


async def test_a_chunked_answer_and_its_trailers_become_frames(rig: Rig, connect: Connect) -> None:
    rig.origin.answers(
        "/", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    )
    client = await connect()
    stream = client.request("/")
    assert await client.response(stream) == (200, b"hello")
    assert client.trailers(stream) == {"x": "1"}
    assert "transfer-encoding" not in client.head(stream)


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "5"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "5"),
    ],
)
async def test_an_answer_without_a_body_ends_with_its_head(
    rig: Rig, connect: Connect, method: str, answer: bytes, length: str | None
) -> None:
    rig.origin.answers("/", answer)
    client = await connect()
    stream = client.request("/", method=method)
    status, body = await client.response(stream)
    assert (status, body) == (int(answer[9:12]), b"")
    assert client.head(stream).get("content-length") == length


async def test_a_ping_is_answered_though_nothing_else_is_said(rig: Rig, connect: Connect) -> None:
    client = await connect()
    await client.hears(lambda: client.has(0, SettingsAcknowledged))
    client.connection.ping(b"12345678")
    client.flush()
    await client.hears(lambda: client.has(0, PingAckReceived))


async def test_early_hints_are_passed_on(rig: Rig, connect: Connect) -> None:
    rig.origin.answers("/", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    client = await connect()
    stream = client.request("/")
    assert await client.response(stream) == (200, b"hello")
    assert client.informational(stream) == [{":status": "103", "link": "</a>"}]


@pytest.mark.parametrize(
    "fields",
    [
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
        [("te", "gzip")],
        [("host", "other.localhost")],
        [("content-length", "5")],
        [("a b", "1")],
        [("a", "b\r\nc: d")],
        [("a", " b")],
        [(":late", "1")],
    ],
)
async def test_a_malformed_request_is_refused_and_the_others_go_on(
    rig: Rig, connect: Connect, fields: list[tuple[str, str]]
) -> None:
    rig.origin.answers("/", OK)
    client = await connect()
    status, body = await client.response(client.request("/", *fields))
    assert (status, problem(body)) == (400, "bad-request")
    assert await client.response(client.request("/")) == (200, b"hello")
    assert len(rig.origin.heads) == 1


async def test_a_problem_is_told_to_grpc_in_its_own_words(rig: Rig, connect: Connect) -> None:
    client = await connect()
    stream = client.request(
        "/a.B/C", ("content-type", "application/grpc"), method="POST", host="x.localhost"
    )
    assert await client.response(stream) == (200, b"")
    head = client.head(stream)
    assert head["grpc-status"] == "12"
    assert head["grpc-message"].startswith("No service answers to the host 'x.localhost'")


async def test_a_request_waits_in_the_queue_and_may_be_given_up_there(
    rig: Rig, connect: Connect
) -> None:
    rig.route(concurrency=1)
    rig.origin.handlers[b"/never"] = never
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await connect()
    stream = client.request("/", method="POST", end=False)
    client.send(stream, b"waits")
    await rig.until(lambda: rig.queued() == 1)
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    await rig.until(lambda: rig.queued() == 0)


async def test_the_timeout_answers_504(rig: Rig, connect: Connect) -> None:
    rig.route(timeout=0.05)
    await asyncio.sleep(0.01)
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    status, body = await client.response(client.request("/never"))
    assert (status, problem(body)) == (504, "request-timeout")
    await rig.free()


async def test_a_body_over_the_limit_is_refused(rig: Rig, connect: Connect) -> None:
    rig.route(max_body=10)
    await asyncio.sleep(0.01)
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    announced = client.request("/never", ("content-length", "11"), method="POST", end=False)
    assert (await client.response(announced))[0] == 413
    streamed = client.request("/never", method="POST", end=False)
    client.send(streamed, b"01234567890")
    assert (await client.response(streamed))[0] == 413
    await rig.free()


async def test_a_client_that_does_not_read_holds_back_its_stream_only(
    rig: Rig, connect: Connect
) -> None:
    size = 4 * 1024**2
    rig.origin.answers("/", OK)
    rig.origin.answers(
        "/large", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    )
    client = await connect()
    client.connection.increment_flow_control_window(8 * 1024**2)
    client.flush()
    client.reads_body = False
    large = client.request("/large")
    await client.hears(lambda: len(client.body(large)) == 65535)  # its window
    client.reads_body = True
    assert await client.response(client.request("/")) == (200, b"hello")
    (session,) = rig.worker.dispatch.clients
    assert isinstance(session, http2.ClientSession)
    assert sum(len(stream.output.pending) for stream in session.streams.values()) < 1024**2
    client.connection.increment_flow_control_window(65535, large)
    client.flush()
    assert len((await client.response(large))[1]) == size


async def test_an_instance_that_does_not_read_holds_back_the_client(
    rig: Rig, connect: Connect
) -> None:
    taken = asyncio.Event()

    async def slow(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await taken.wait()
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(OK)
        return True

    rig.origin.handlers[b"/slow"] = slow
    client = await connect()
    stream = client.request("/slow", method="POST", end=False)
    sent = 0
    for _ in range(2000):  # 20 MiB, if it were let
        window = client.connection.local_flow_control_window(stream)
        if window < 10_000:
            await asyncio.sleep(0.001)
            continue
        client.send(stream, bytes(10_000))
        sent += 10_000
    assert sent < 10_000_000
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    taken.set()
    await rig.free()


async def test_more_than_a_hundred_fields_are_refused(rig: Rig, connect: Connect) -> None:
    client = await connect()
    stream = client.request("/", *((f"a{n}", "x") for n in range(101)))
    assert (await client.response(stream))[0] == 431


async def test_a_drain_lets_streams_end_and_serves_those_on_their_way(
    rig: Rig, connect: Connect
) -> None:
    release = asyncio.Event()

    async def wait(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await release.wait()
        writer.write(OK)
        return True

    rig.origin.handlers[b"/wait"] = wait
    rig.origin.answers("/", OK)
    client = await connect()
    stream = client.request("/wait")
    await rig.until(lambda: len(rig.origin.heads) == 1)
    rig.node.say(link.Drain(5.0))
    late = client.request("/")  # before the GOAWAY is seen
    await rig.until(lambda: rig.worker.dispatch.draining)
    release.set()
    for waiting in (stream, late):
        assert await client.response(waiting) == (200, b"hello")
    assert await client.goaway() == ErrorCodes.NO_ERROR
    assert client.goaways[0][0] == ALL_STREAMS
    assert client.goaways[-1][0] == late
    await asyncio.wait_for(rig.running, 5)


async def test_an_idle_connection_is_told_and_has_a_second_while_draining_patiently(
    rig: Rig, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.worker, "_settling", 0.0)
    rig.origin.answers("/", OK)
    client = await connect()
    await rig.until(lambda: len(rig.worker.dispatch.clients) == 1)
    rig.node.say(link.Drain(60.0, patient=True))
    await client.hears(lambda: bool(client.goaways))
    assert client.goaways == [(ALL_STREAMS, ErrorCodes.NO_ERROR)]
    late = client.request("/")  # as if it was on its way
    assert await client.response(late) == (200, b"hello")
    assert not client.closed
    assert await client.goaway() == ErrorCodes.NO_ERROR
    assert client.goaways[-1][0] == late
    await asyncio.wait_for(rig.running, 5)


async def test_the_idle_connection_is_closed(
    rig: Rig, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "IDLE_TIME", 1)
    client = await connect()
    assert await client.goaway() == ErrorCodes.NO_ERROR


async def test_an_answer_that_nobody_takes_is_given_up(
    rig: Rig, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_stream, "STALL_TIME", 1)
    monkeypatch.setattr(http2_flow, "MAX_PENDING", 1024**2)
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + bytes(90000))
    client = await connect()
    client.reads_body = False
    stream = client.request("/")
    await client.hears(lambda: client.has(stream, StreamReset))
    assert client.reset_code(stream) == ErrorCodes.CANCEL


async def test_a_half_sent_preface_is_refused(rig: Rig) -> None:
    client = await rig.client()
    client.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert b"\x07" in (await client.rest())[:60]


async def test_the_preface_may_not_come_after_a_request(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/")
    assert await client.response() == (200, b"hello")
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await client.response())[0] == 400


async def test_a_body_shorter_than_its_length_leaves_nothing_for_the_next_request(
    rig: Rig, connect: Connect
) -> None:
    rig.origin.answers("/", OK)  # without having read a body
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    stream = client.request("/never", ("content-length", "5"), method="POST", end=False)
    await rig.until(lambda: len(rig.origin.heads) == 1)
    client.connection.send_headers(stream, [("x-sum", "1")], end_stream=True)
    client.flush()
    status, body = await client.response(stream)
    assert (status, problem(body)) == (400, "bad-request")
    async with asyncio.timeout(5):
        await rig.origin.gone.acquire()
    assert await client.response(client.request("/")) == (200, b"hello")
    assert rig.origin.connections == 2
