"""The plain reverse proxy that one writes with aiohttp in an afternoon: a yardstick, no product.

Run as `python -m windlass.bench.aiohttp_proxy PORT BACKEND_PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

_HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "TE")


class Proxy:
    """Forwards every request to one backend and streams both bodies."""

    def __init__(self, backend: int) -> None:
        self._backend = URL(f"http://127.0.0.1:{backend}")
        self._session: aiohttp.ClientSession | None = None

    async def forward(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with what the backend answers."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        headers = request.headers.copy()
        for name in _HOP_BY_HOP:
            headers.popall(name, None)
        async with self._session.request(
            request.method,
            self._backend.join(request.rel_url),
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(answer.headers)
            response.headers.popall("Connection", None)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
            return response


async def serve(port: int, backend: int) -> None:
    """Serve until killed."""
    server = web.Server(Proxy(backend).forward, access_log=None)
    runner = web.ServerRunner(server, handle_signals=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
