from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from windlass.autoscaler.probe import answers, passes
from windlass.model.instance import Address
from windlass.model.service import Container, Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def respond(request: web.Request) -> web.Response:
    if request.headers.get("X-Probe") != "yes":
        return web.Response(status=403)
    return web.Response(status=int(request.path.strip("/")))


@pytest.fixture
async def address() -> AsyncIterator[Address]:
    application = web.Application()
    application.router.add_get("/{status}", respond)
    async with TestServer(application) as server:
        assert server.port
        yield Address("127.0.0.1", server.port)


def container(path: str = "/200", header: str = "yes") -> Container:
    return Container(startup_probe=Probe(kind="http", path=path, headers=(("X-Probe", header),)))


async def test_a_port_that_listens_answers(address: Address) -> None:
    assert await answers(Container(), address)


async def test_a_port_that_nobody_listens_on_does_not() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        silent = Address("127.0.0.1", bound.getsockname()[1])
        assert not await answers(Container(), silent)
        assert not await answers(container(), silent)


async def test_an_http_probe_succeeds_on_200_to_399_with_its_headers(address: Address) -> None:
    assert await answers(container("/200"), address)
    assert await answers(container("/302"), address)
    assert not await answers(container("/404"), address)
    assert not await answers(container("/503"), address)
    assert not await answers(container("/200", header="no"), address)


async def test_an_http_probe_gives_up_after_its_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        probe = Probe(kind="http", timeout=0.05)
        address = Address("127.0.0.1", mute.getsockname()[1])
        assert not await answers(Container(startup_probe=probe), address)


STATES = {b"": 1, b"\x0a\4well": 1, b"\x0a\4sick": 2}  # HealthCheckRequest -> status


async def check(request: bytes, context: Any) -> bytes:
    if request not in STATES:
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes([0x08, STATES[request]])


@asynccontextmanager
async def grpc_server(name: str = "grpc.health.v1.Health") -> AsyncIterator[Address]:
    server = grpc.aio.server()
    methods: dict[str, Any] = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Address("127.0.0.1", port)
    finally:
        await server.stop(None)


async def is_serving(address: Address, service: str = "", within: float = 5.0) -> bool:
    probe = Probe(kind="grpc", grpc_service=service, timeout=within)
    passed = await passes(probe, Container(), address)
    assert await answers(Container(startup_probe=probe), address) is passed
    return passed


async def test_a_grpc_probe_succeeds_only_where_the_service_is_serving() -> None:
    async with grpc_server() as address:
        assert await is_serving(address)
        assert await is_serving(address, "well")
        assert not await is_serving(address, "sick")
        assert not await is_serving(address, "unknown")
    async with grpc_server("another.Service") as address:
        assert not await is_serving(address)


async def test_a_grpc_probe_fails_where_nobody_listens_or_speaks_http_1(address: Address) -> None:
    assert not await is_serving(address)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not await is_serving(Address("127.0.0.1", bound.getsockname()[1]))


@asynccontextmanager
async def serving(greet: bytes, *, hang_up: bool = False) -> AsyncIterator[Address]:
    """Serve a few bytes to whoever connects, and read nothing."""
    writers = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(greet)
        if hang_up:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Address(*server.sockets[0].getsockname())
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize(
    ("greet", "hang_up"),
    [(b"", True), (b"\xff" * 100_000, False), (b"\0\0\0\4\0\0\0\0\0" * 10_000, False)],
    ids=["nothing", "garbage", "settings without end"],
)
async def test_a_grpc_probe_fails_at_once_on_what_is_no_answer(greet: bytes, hang_up: bool) -> None:
    async with serving(greet, hang_up=hang_up) as address, asyncio.timeout(30):
        assert not await is_serving(address, within=60.0)


@pytest.mark.parametrize("greet", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_a_grpc_probe_gives_up_after_its_timeout(greet: bytes) -> None:
    async with serving(greet) as address:
        assert not await is_serving(address, within=0.05)
