"""Instances that speak h2c: requests from clients of both protocols share few connections."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame
from tests.router.http2_client import Http2Client
from tests.router.http2_origin import Http2Origin, Peer, Request

from windlass.router import endpoint_http2, link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.router.conftest import Client, Rig

    from windlass.router.upstream_http2 import UpstreamSession


@pytest.fixture
async def origin(rig: Rig) -> AsyncIterator[Http2Origin]:
    """Put an instance that speaks h2c in the place of the one there is."""
    origin = Http2Origin()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Peer(origin), "127.0.0.1", 0)
    origin.port = server.sockets[0].getsockname()[1]
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    rig.route(protocol="h2c")
    rig.ready("hello-00001-h2", origin.port)
    await rig.settled()
    yield origin
    for peer in origin.peers:
        peer.close()
    server.close()
    await server.wait_closed()
    assert not origin.broken


def problem(body: bytes) -> str:
    return str(json.loads(body)["type"]).removeprefix("urn:windlass:problem:")


async def answered(rig: Rig, path: str = "/", *fields: str) -> tuple[int, bytes]:
    client = await rig.client()
    client.get(path, *fields)
    return await client.response()


def length(body: bytes) -> tuple[str, str]:
    return ("content-length", str(len(body)))


async def test_a_request_of_http_1_1_reaches_an_instance_of_http_2(
    rig: Rig, origin: Http2Origin
) -> None:
    origin.handlers["/?a=b"] = lambda request: request.answer(b"hello", length(b"hello"))
    assert await answered(rig, "/?a=b", "X-Own: 1", "TE: trailers") == (200, b"hello")
    headers = origin.requests[0].headers
    assert list(headers)[:4] == [":method", ":scheme", ":authority", ":path"]
    assert headers[":authority"] == "hello.localhost"
    assert headers["x-own"] == "1"
    assert headers["te"] == "trailers"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert not headers.keys() & {"host", "connection", "transfer-encoding", "upgrade"}


async def test_a_body_and_trailers_pass_both_ways(rig: Rig, origin: Http2Origin) -> None:
    def echo(request: Request) -> None:
        request.head()
        request.data(request.body)
        request.finish(("x-sum", request.trailers["x-sum"]), ("content-length", "3"))

    origin.handlers["/"] = echo
    client = await rig.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert b"Transfer-Encoding: chunked\r\n" in await client.head()
    assert await client.until(b"\r\n\r\n") == b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"


async def test_many_requests_share_one_connection(rig: Rig, origin: Http2Origin) -> None:
    held: list[Request] = []
    origin.handlers["/"] = held.append
    clients = [await rig.client() for _ in range(20)]
    for client in clients:
        client.get("/")
    await rig.until(lambda: len(held) == 20)
    assert len(origin.peers) == 1
    for request in held:
        request.answer(b"a", length(b"a"))
    for client in clients:
        assert await client.response() == (200, b"a")


async def test_no_more_streams_than_the_instance_allows(rig: Rig, origin: Http2Origin) -> None:
    origin.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    held: list[Request] = []
    origin.handlers["/"] = held.append
    clients = [await rig.client() for _ in range(7)]
    for client in clients:
        client.get("/")
    await rig.until(lambda: len(held) == 7)
    assert sorted(len(peer.requests) for peer in origin.peers) == [1, 3, 3]
    for request in held:
        request.answer(b"a", length(b"a"))
    for client in clients:
        assert await client.response() == (200, b"a")


async def test_a_client_that_goes_away_resets_its_stream_only(
    rig: Rig, origin: Http2Origin
) -> None:
    held: list[Request] = []
    origin.handlers["/"] = held.append
    first, second = await rig.client(), await rig.client()
    first.get("/")
    await rig.until(lambda: len(held) == 1)
    second.get("/")
    await rig.until(lambda: len(held) == 2)
    first.close()
    await rig.until(lambda: held[0].was_reset)
    held[1].answer(b"a", length(b"a"))
    assert await second.response() == (200, b"a")
    await rig.free()


async def test_http_2_on_both_ends(rig: Rig, origin: Http2Origin) -> None:
    def echo(request: Request) -> None:
        request.head(("content-type", "application/grpc"))
        request.data(request.body)
        request.finish(("grpc-status", "0"))

    origin.handlers["/"] = echo
    client = await Http2Client.connect(rig.port)
    stream = client.request("/", method="POST", end=False)
    client.send(stream, b"he")
    client.send(stream, b"llo", end=True)
    assert await client.response(stream) == (200, b"hello")
    assert client.trailers(stream) == {"grpc-status": "0"}
    await client.close()


async def test_a_head_and_its_end_may_come_as_one(rig: Rig, origin: Http2Origin) -> None:
    origin.handlers["/"] = lambda request: request.answer(b"", ("grpc-status", "5"))
    client = await Http2Client.connect(rig.port)
    stream = client.request("/")
    assert await client.response(stream) == (200, b"")
    assert client.head(stream)["grpc-status"] == "5"
    await client.close()


async def test_the_instance_is_read_no_faster_than_the_client_reads(
    rig: Rig, origin: Http2Origin
) -> None:
    size = 0

    async def pour(request: Request) -> None:
        nonlocal size
        connection = request.peer.connection
        request.head()
        for _ in range(2000):
            window = min(connection.local_flow_control_window(request.stream), 16384)
            if window:
                request.data(bytes(window))
                size += window
            else:
                await asyncio.sleep(0.001)

    tasks = []
    origin.handlers["/"] = lambda request: tasks.append(asyncio.create_task(pour(request)))
    client = await Http2Client.connect(rig.port)
    client.reads_body = False
    client.request("/")
    await asyncio.wait_for(asyncio.gather(*await started(rig, tasks)), 10)
    assert size < 1024**2
    await client.close()
    await rig.free()


async def started(rig: Rig, tasks: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    await rig.until(lambda: bool(tasks))
    return tasks


async def test_an_instance_that_grants_no_window_holds_back_the_client(
    rig: Rig, origin: Http2Origin
) -> None:
    origin.reads_body = False
    origin.handlers["/"] = lambda request: None
    client = await Http2Client.connect(rig.port)
    stream = client.request("/", method="POST", end=False)
    sent = 0
    for _ in range(500):
        window = min(client.connection.local_flow_control_window(stream), 16384)
        if window:
            client.send(stream, bytes(window))
            sent += window
        else:
            await asyncio.sleep(0.001)
    assert sent < 1024**2
    await client.close()
    await rig.free()


async def test_goaway_lets_streams_end_and_opens_no_more(rig: Rig, origin: Http2Origin) -> None:
    held: list[Request] = []
    origin.handlers["/held"] = held.append
    origin.handlers["/"] = lambda request: request.answer(b"new", length(b"new"))
    client = await rig.client()
    client.get("/held")
    await rig.until(lambda: len(held) == 1)
    frame = GoAwayFrame(0, last_stream_id=held[0].stream)
    origin.peers[0].transport.write(frame.serialize())
    await rig.until(lambda: not sessions(rig))
    assert await answered(rig) == (200, b"new")
    held[0].answer(b"old", length(b"old"))
    assert await client.response() == (200, b"old")
    assert len(origin.peers) == 2


def sessions(rig: Rig) -> list[UpstreamSession]:
    (endpoint,) = rig.worker.dispatch.pools["hello-00001"].instances.values()
    assert isinstance(endpoint, endpoint_http2.Http2Endpoint)
    return endpoint.sessions


async def test_what_goaway_leaves_out_is_sent_again(rig: Rig, origin: Http2Origin) -> None:
    def go_away_once(request: Request) -> None:
        if len(origin.peers) == 1:
            request.peer.transport.write(GoAwayFrame(0, last_stream_id=0).serialize())
        else:
            request.answer(b"a", length(b"a"))

    origin.handlers["/"] = go_away_once
    assert await answered(rig) == (200, b"a")


async def test_a_refused_request_without_a_body_is_sent_again(
    rig: Rig, origin: Http2Origin
) -> None:
    def refuse_once(request: Request) -> None:
        if len(origin.requests) == 1:
            request.reset(ErrorCodes.REFUSED_STREAM)
        else:
            request.answer(b"a", length(b"a"))

    origin.handlers["/"] = refuse_once
    assert await answered(rig) == (200, b"a")


async def test_an_instance_that_always_refuses_is_a_bad_gateway(
    rig: Rig, origin: Http2Origin
) -> None:
    origin.handlers["/"] = lambda request: request.reset(ErrorCodes.REFUSED_STREAM)
    status, body = await answered(rig)
    assert (status, problem(body)) == (502, "instance-refused")


async def test_a_reset_before_the_answer_is_a_bad_gateway(rig: Rig, origin: Http2Origin) -> None:
    origin.handlers["/"] = lambda request: request.reset(ErrorCodes.INTERNAL_ERROR)
    status, body = await answered(rig)
    assert (status, problem(body)) == (502, "instance-reset")


async def test_a_reset_within_the_answer_breaks_it_off(rig: Rig, origin: Http2Origin) -> None:
    def break_off(request: Request) -> None:
        request.head()
        request.data(b"a")
        request.reset(ErrorCodes.INTERNAL_ERROR)

    origin.handlers["/"] = break_off
    client = await rig.client()
    client.get("/")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.until(b"0\r\n\r\n")


async def test_an_answer_that_is_not_http_is_a_bad_gateway_for_it_alone(
    rig: Rig, origin: Http2Origin
) -> None:
    held: list[Request] = []
    origin.handlers["/held"] = held.append
    client = await rig.client()
    client.get("/held")
    await rig.until(lambda: len(held) == 1)
    held[0].peer.connection.config.validate_outbound_headers = False
    held[0].peer.connection.config.normalize_outbound_headers = False
    origin.handlers["/"] = lambda request: request.answer(b"", ("connection", "close"))
    status, body = await answered(rig)
    assert (status, problem(body)) == (502, "bad-response")
    held[0].answer(b"a", length(b"a"))
    assert await client.response() == (200, b"a")


async def test_a_connection_that_ends_fails_what_may_not_be_repeated(
    rig: Rig, origin: Http2Origin
) -> None:
    origin.handlers["/"] = lambda request: request.peer.close()
    client = await rig.client()
    client.send(b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 1\r\n\r\na")
    status, body = await client.response()
    assert (status, problem(body)) == (502, "instance-closed")


async def test_an_instance_of_http_1_1_is_told_apart(rig: Rig, origin: Http2Origin) -> None:
    rig.node.say(link.InstanceGone("hello-00001-h2"))
    await rig.settled(0)
    rig.ready("hello-00001-h1", rig.origin.port)
    await rig.settled()
    client = await rig.client()
    client.get("/")
    status, body = await client.response()
    assert (status, problem(body)) == (502, "instance-unreachable")
    assert b"does not speak HTTP/2" in body


async def test_a_gone_instance_fails_what_it_has(rig: Rig, origin: Http2Origin) -> None:
    held: list[Request] = []
    origin.handlers["/"] = held.append
    client: Client = await rig.client()
    client.get("/")
    await rig.until(lambda: len(held) == 1)
    rig.node.say(link.InstanceGone("hello-00001-h2", "killed"))
    status, body = await client.response()
    assert (status, problem(body)) == (502, "instance-gone")
    assert b"killed" in body


async def test_requests_that_wait_for_a_gone_instance_wait_for_another(
    rig: Rig, origin: Http2Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_http2, "CONNECT_PAUSES", (60.0,))
    origin.handlers["/"] = lambda request: request.answer(b"a", length(b"a"))
    client = await rig.client()
    client.get("/")
    await rig.until(lambda: rig.in_flight() == 1)
    monkeypatch.undo()
    rig.node.say(link.InstanceGone("hello-00001-h2"))
    await rig.until(lambda: rig.queued() == 1)
    rig.ready("hello-00001-b", origin.port)
    assert await client.response() == (200, b"a")


@pytest.mark.parametrize("sent", [b"", b"hel", b"hello!"])
async def test_an_answer_of_another_length_than_it_said_is_broken_off(
    rig: Rig, origin: Http2Origin, sent: bytes
) -> None:
    def answer(request: Request) -> None:
        request.head(("content-length", "5"))
        if sent:
            request.data(sent)
        request.finish(("x-sum", "1"))

    origin.handlers["/"] = answer
    client = await rig.client()
    client.get("/")
    client.get("/")  # its answer must not be taken for the rest
    said = await client.rest()
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"bad-response" in said or said.partition(b"\r\n\r\n")[2] in (b"", b"hel")


async def test_a_length_without_a_body_is_a_bad_answer(rig: Rig, origin: Http2Origin) -> None:
    origin.handlers["/"] = lambda request: request.head(("content-length", "5"), end=True)
    status, body = await answered(rig)
    assert (status, problem(body)) == (502, "bad-response")
    client = await rig.client()
    client.send(b"HEAD / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n")
    assert b"Content-Length: 5\r\n" in await client.head()
