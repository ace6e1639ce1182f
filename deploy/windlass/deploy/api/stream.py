"""Answers that go on: one JSON object per line, as each becomes known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog
from aiohttp import ClientConnectionResetError, web

from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.api.schema import Failed, Heartbeat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from windlass.deploy.api.schema import Progress

T = TypeVar("T", bound=msgspec.Struct)

CONTENT_TYPE = "application/x-ndjson"
HEARTBEAT = 5.0  # seconds of silence before the client hears that the step goes on
log = structlog.get_logger(__name__)


async def stream(request: web.Request, items: AsyncGenerator[T]) -> web.StreamResponse:
    """Send each item as a line, as it comes.

    What `items` raises before its first item is raised here, and so has a status of its own.
    """
    async with aclosing(items):
        first = await anext(items, None)
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        await response.prepare(request)
        with contextlib.suppress(ClientConnectionResetError):  # the client has heard enough
            if first is not None:
                await response.write(msgspec.json.encode(first) + b"\n")
                async for item in items:
                    await response.write(msgspec.json.encode(item) + b"\n")
            await response.write_eof()
        return response


async def lively(
    events: AsyncIterator[Progress], heartbeat: float = HEARTBEAT
) -> AsyncGenerator[Progress]:
    """Yield the events, a Heartbeat whenever none came for a while, and a refusal as Failed.

    A refusal before the first event is raised. Closing it cancels whatever the events wait for.
    """
    begun = False
    coming = asyncio.ensure_future(_next(events))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=heartbeat)
            if not done:
                yield Heartbeat()
                continue
            event = coming.result()
            if event is None:
                return
            begun = True
            yield event
            coming = asyncio.ensure_future(_next(events))
    except Refused as refused:
        if not begun:
            raise
        yield Failed(refused.problem)
    except Exception:
        if not begun:
            raise
        # The status is sent: the fault can only be told as the last line.
        log.exception("api.fault")
        yield Failed(problem(500, "fault", "A fault of Windlass; its log says more."))
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await _close(events)


async def closed(items: AsyncIterator[T]) -> AsyncGenerator[T]:
    """Yield the items, and close what yields them as soon as this is closed."""
    try:
        async for item in items:
            yield item
    finally:
        await _close(items)


async def _close(items: AsyncIterator[object]) -> None:
    """Let a generator clean up now: left to the garbage collector, it would hold its locks on."""
    if isinstance(items, AsyncGenerator):
        await items.aclose()


async def _next(events: AsyncIterator[Progress]) -> Progress | None:
    return await anext(events, None)
