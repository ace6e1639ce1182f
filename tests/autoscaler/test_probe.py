from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from windlass.autoscaler.probe import answers
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
    assert await answers(Container(startup_probe=Probe(kind="grpc")), address)


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
