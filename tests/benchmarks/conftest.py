"""A loopback HTTP server whose answers a test writes byte by byte."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
    Serve = Callable[[Answer], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def _serve(answer: Answer) -> AsyncIterator[int]:
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            while not writer.is_closing():
                await answer(await reader.readuntil(b"\r\n\r\n"), writer)
            await writer.wait_closed()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()
        conversations.discard(task)

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations)
        await asyncio.sleep(0)  # lets the transports close


@pytest.fixture
def serve() -> Serve:
    """Return a context that serves on a loopback port: `answer` gets a head and a writer."""
    return _serve
