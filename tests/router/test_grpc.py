"""gRPC's own client and server with the router between them: all four kinds of call."""

from __future__ import annotations

import asyncio
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.router.conftest import Rig

# The stubs want a type for the messages of each method; here they are bytes as they are.
Channel = Any
Context = Any


class Service:
    """One method of each kind, and some that fail."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.started = threading.Event()

    def handlers(self) -> grpc.GenericRpcHandler:
        methods: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Countdown": grpc.unary_stream_rpc_method_handler(self.countdown),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
        }
        return grpc.method_handlers_generic_handler("test.Service", methods)

    def unary(self, request: bytes, context: Context) -> bytes:
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last-bin", b"\0\1"),))
        return request

    def countdown(self, request: bytes, context: Context) -> Iterator[bytes]:
        yield from (b"%d" % n for n in range(int(request), 0, -1))

    def join(self, requests: Iterator[bytes], context: Context) -> bytes:
        return b"".join(requests)

    def echo(self, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        yield from requests

    def fail(self, request: bytes, context: Context) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "nichts für dich")

    def hang(self, request: bytes, context: Context) -> bytes:
        context.add_callback(self.cancelled.set)
        self.started.set()
        assert self.cancelled.wait(10)
        return b""


@pytest.fixture
async def service(rig: Rig) -> AsyncIterator[Service]:
    """Put a gRPC server in the place of the instance there is."""
    service = Service()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((service.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    rig.route(protocol="h2c", max_body=0)
    rig.ready("hello-00001-grpc", port)
    await rig.settled()
    yield service
    service.cancelled.set()
    await asyncio.to_thread(server.stop(None).wait)


@pytest.fixture
async def channel(rig: Rig, service: Service) -> AsyncIterator[Channel]:
    options = [("grpc.default_authority", "hello.localhost")]
    channel = grpc.insecure_channel(f"127.0.0.1:{rig.port}", options=options)
    yield channel
    await asyncio.to_thread(channel.close)


async def test_a_unary_call_with_metadata_both_ways(channel: Channel) -> None:
    method = channel.unary_unary("/test.Service/Unary")
    answer, call = await asyncio.to_thread(method.with_call, b"hello", timeout=5)
    assert answer == b"hello"
    assert ("x-first", "1") in call.initial_metadata()
    assert ("x-last-bin", b"\0\1") in call.trailing_metadata()


async def test_a_call_that_streams_its_answers(channel: Channel) -> None:
    method = channel.unary_stream("/test.Service/Countdown")
    answers = await asyncio.to_thread(lambda: list(method(b"1000", timeout=10)))
    assert answers == [b"%d" % n for n in range(1000, 0, -1)]


async def test_a_call_that_streams_its_requests(channel: Channel) -> None:
    method = channel.stream_unary("/test.Service/Join")
    parts = [bytes([n]) * 50_000 for n in range(40)]
    answer = await asyncio.to_thread(method, iter(parts), timeout=10)
    assert answer == b"".join(parts)


async def test_a_call_that_streams_both_ways_at_once(channel: Channel) -> None:
    def converse() -> list[bytes]:
        heard: list[bytes] = []
        said = threading.Semaphore(1)

        def requests() -> Iterator[bytes]:
            for n in range(20):
                said.acquire()  # the next only after the answer to the one before
                yield b"%d" % n

        for answer in channel.stream_stream("/test.Service/Echo")(requests(), timeout=10):
            heard.append(answer)
            said.release()
        return heard

    assert await asyncio.to_thread(converse) == [b"%d" % n for n in range(20)]


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("Fail", grpc.StatusCode.NOT_FOUND, "nichts für dich"),
        ("Unknown", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
    ],
)
async def test_an_error_comes_through(
    channel: Channel, method: str, code: grpc.StatusCode, details: str
) -> None:
    call = channel.unary_unary(f"/test.Service/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(call, b"", timeout=5)
    assert (caught.value.code(), caught.value.details()) == (code, details)


async def test_a_deadline_that_passes_cancels_the_call_at_the_server(
    rig: Rig, channel: Channel, service: Service
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(channel.unary_unary("/test.Service/Hang"), b"", timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await asyncio.to_thread(service.cancelled.wait, 5)
    await rig.free()


async def test_a_cancelled_call_is_cancelled_at_the_server(
    rig: Rig, channel: Channel, service: Service
) -> None:
    call = channel.unary_unary("/test.Service/Hang").future(b"")
    assert await asyncio.to_thread(service.started.wait, 5)
    call.cancel()
    assert await asyncio.to_thread(service.cancelled.wait, 5)
    await rig.free()


@pytest.mark.parametrize(
    ("route", "method", "code", "details"),
    [
        ({"timeout": 0.05}, "Hang", grpc.StatusCode.DEADLINE_EXCEEDED, "timeout of 0.05 s"),
        ({"max_body": 10}, "Unary", grpc.StatusCode.RESOURCE_EXHAUSTED, "limit of 10 bytes"),
        ({"queue_wait": 0.05}, "Unary", grpc.StatusCode.UNAVAILABLE, "No slot came free"),
    ],
)
async def test_the_routers_own_errors_are_status_codes(
    rig: Rig,
    channel: Channel,
    route: dict[str, Any],
    method: str,
    code: grpc.StatusCode,
    details: str,
) -> None:
    pool = rig.worker.dispatch.pools["hello-00001"]
    before = pool.route
    rig.route(protocol="h2c", **route)
    if "queue_wait" in route:
        rig.node.say(link.InstanceGone("hello-00001-grpc"))
        await rig.settled(0)
    await rig.until(lambda: pool.route is not before)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(
            channel.unary_unary(f"/test.Service/{method}"), bytes(100), timeout=5
        )
    assert caught.value.code() is code
    assert details in str(caught.value.details())


async def test_large_messages_pass(channel: Channel) -> None:
    message = bytes(4_000_000)
    answer = await asyncio.to_thread(
        channel.unary_unary("/test.Service/Unary"), message, timeout=20
    )
    assert answer == message
