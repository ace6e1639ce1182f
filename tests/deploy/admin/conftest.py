"""A platform in memory, with the admin API in front of it on a real socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from tests.deploy.memory import MemoryPlatform

from windlass.deploy.api.client import Client
from windlass.deploy.api.server import make_app
from windlass.deploy.cli.commands import windlass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.test_utils import BaseTestServer
    from click.testing import Result


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


@pytest.fixture
async def server(platform: MemoryPlatform) -> AsyncIterator[TestServer]:
    server = TestServer(make_app(platform), handler_cancellation=True)
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def http(server: BaseTestServer) -> AsyncIterator[TestClient[Any, Any]]:
    """Plain HTTP to the API."""
    client: TestClient[Any, Any] = TestClient(server)
    async with client:
        yield client


@pytest.fixture
async def run(
    server: BaseTestServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[Result]]:
    """Run a client command against the API, as a user would."""
    monkeypatch.setenv("WINDLASS_SERVER", str(server.make_url("")))

    async def call(*words: str, stdin: str | None = None) -> Result:
        # In a thread of its own: a command runs its own event loop, this one serves the API.
        return await asyncio.to_thread(CliRunner().invoke, windlass, words, input=stdin)

    return call


@pytest.fixture
async def client(server: BaseTestServer) -> AsyncIterator[Client]:
    """The client that the command line uses."""
    async with Client(str(server.make_url(""))) as client:
        yield client
