"""Starts one worker of the router before a backend, with the least node it can work with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.bench.fake_node import FakeNode
from windlass.bench.proxies import PROXIES, WINDLASS
from windlass.bench.servers import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PROXY = next(proxy for proxy in PROXIES if proxy.name == WINDLASS)


@dataclass(frozen=True)
class RunningWorker:
    """A worker that answers, and the node that hears its reports."""

    port: int
    pid: int
    node: FakeNode


@asynccontextmanager
async def running_worker(
    parent: Path, backend: int, concurrency: int, *, h2c: bool = False
) -> AsyncIterator[RunningWorker]:
    """Run a worker while the context lasts; `h2c`: the backend speaks HTTP/2.

    Raises:
        CannotStart: it does not answer.
    """
    node = FakeNode(backend, concurrency, h2c=h2c)
    directory = parent / WINDLASS
    directory.mkdir()
    await node.listen(directory / "link")
    try:
        async with running(_PROXY, parent, backend) as server:
            yield RunningWorker(server.port, server.pid, node)
    finally:
        await node.close()
