from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windlass.bench.fake_node import FakeNode
from windlass.bench.load import Load, run
from windlass.bench.proxies import BACKEND, PROXIES, WINDLASS, Proxy
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
