from __future__ import annotations

import os
import shutil
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from windlass.bench.fake_node import FakeNode
from windlass.bench.grpc_calls import TOOL, call
from windlass.bench.load import Load, run
from windlass.bench.proxies import BACKEND, PROXIES, SMALL_ANSWER, WINDLASS, Proxy
from windlass.bench.servers import CannotStart, running

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
    Serve = Callable[[Answer], AbstractAsyncContextManager[int]]


async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.slow
@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
async def test_a_proxy_forwards_and_is_gone_afterwards(
    proxy: Proxy, serve: Serve, tmp_path: Path
) -> None:
    if proxy.path() is None:
        pytest.skip(f"{proxy.binary} is not installed")
    (tmp_path / proxy.name).mkdir()
    async with serve(answer) as backend:
        node = FakeNode(backend, concurrency=10)
        if proxy.name == WINDLASS:
            await node.listen(tmp_path / proxy.name / "link")
        async with running(proxy, tmp_path, backend) as server:
            load = Load(host="127.0.0.1", port=server.port, host_header="x", rate=100, duration=0.1)
            result = await run(load)
        await node.close()
    assert result.errors == {}
    assert result.statuses == {200: 10}
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backend", *(one.name for one in PROXIES if one.grpc_command)])
async def test_a_call_of_grpc_gets_its_message_and_status(name: str, tmp_path: Path) -> None:
    if shutil.which(TOOL) is None:
        pytest.skip(f"{TOOL} is not installed")
    proxy = next((one for one in PROXIES if one.name == name), None)
    if BACKEND.path() is None or (proxy is not None and proxy.path() is None):
        pytest.skip(f"{name} is not installed")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(BACKEND, tmp_path, 0, grpc=True))
        if proxy is not None:
            (tmp_path / name).mkdir()
            node = FakeNode(server.port, concurrency=10, h2c=True)
            await node.listen(tmp_path / name / "link")
            stack.push_async_callback(node.close)
            server = await stack.enter_async_context(
                running(proxy, tmp_path, server.port, grpc=True)
            )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            method: Any = channel.unary_unary("/bench.Service/Unary")  # its messages are bytes
            answer = await method(b"anything", timeout=5)
        load = await call(server.port, tmp_path, seconds=0.2, connections=2, calls=2)
    assert answer == SMALL_ANSWER.encode()
    assert load.requests > 0
    assert load.errors == 0
    assert 0 < load.p50 <= load.p99


@pytest.mark.slow
async def test_the_backend_answers_files_and_uploads(tmp_path: Path) -> None:
    if BACKEND.path() is None:
        pytest.skip("nginx is not installed")
    async with running(BACKEND, tmp_path, 0) as server:
        load = Load(host="127.0.0.1", port=server.port, host_header="x", rate=20, duration=0.1)
        large = await run(replace(load, path="/large"))
        upload = await run(replace(load, path="/upload", method="POST", body=bytes(100_000)))
    assert large.statuses == upload.statuses == {200: 2}


async def test_a_server_that_is_not_installed_is_named(tmp_path: Path) -> None:
    proxy = Proxy(name="x", binary="no-such-binary", package="", command=lambda *_: [])
    with pytest.raises(CannotStart, match="no-such-binary is not installed"):
        async with running(proxy, tmp_path, 1):
            pass


async def test_a_server_that_ends_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    proxy = Proxy(name="x", binary=sys.executable, package="", command=lambda *_: command)
    with pytest.raises(CannotStart, match="ended with status 1: no such option"):
        async with running(proxy, tmp_path, 1):
            pass
