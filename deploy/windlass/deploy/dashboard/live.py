"""Server-sent events: the parts and figures of a page that changed, after each look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from windlass.deploy.api.platform import Refused

if TYPE_CHECKING:
    from windlass.deploy.dashboard.page import Asked, Build

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


async def stream(request: web.Request, build: Build, asked: Asked) -> web.StreamResponse:
    """Send what changes on a page until the browser leaves or the page is no more to be had.

    A refusal before the first event is raised.
    """
    page = await build(asked)
    shape = asked.shape
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    sent: dict[str, object] = {}
    while True:
        now: dict[str, object] = {f"part {name}": str(html) for name, html in page.parts.items()}
        now |= {f"figure {name}": figure for name, figure in page.figures.items()}
        if page.shape != shape:
            await response.write(_event("anew", {}))
            await response.write_eof()
            return response
        await response.write(_event("look", _changes(sent, now)))
        sent = now
        for _ in range(page.looks):
            await asked.watch.next_look()
        try:
            page = await build(asked)
        except Refused as refused:
            await response.write(_event("gone", {"why": refused.problem.detail}))
            await response.write_eof()
            return response


def _changes(sent: dict[str, object], now: dict[str, object]) -> dict[str, dict[str, object]]:
    """Return what differs, as {"part": {id: html}, "figure": {id: figure}}."""
    changes: dict[str, dict[str, object]] = {"part": {}, "figure": {}}
    for key, value in now.items():
        if sent.get(key) != value:
            kind, _, name = key.partition(" ")
            changes[kind][name] = value
    return changes


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
