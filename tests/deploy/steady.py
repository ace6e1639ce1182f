"""A steady load on one service, and how its requests ended."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.deploy.running import Platform

Stretch = tuple[float, float]


class Steady:
    """So many requests a second, none waiting for another."""

    def __init__(self, platform: Platform, service: str, path: str) -> None:
        self._platform, self._service, self._path = platform, service, path
        self._sent: set[asyncio.Task[None]] = set()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.stretches: list[Stretch] = []  # monotonic seconds of each request

    async def run(self, rate: float) -> None:
        """Send until cancelled."""
        began, number = time.monotonic(), 0
        while True:
            task = asyncio.create_task(self._request())
            self._sent.add(task)
            task.add_done_callback(self._sent.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))

    async def finish(self) -> None:
        """Wait for the answers that are still to come."""
        await asyncio.gather(*self._sent)

    @property
    def sent(self) -> int:
        return sum(self.outcomes.values())

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "200"}

    @property
    def busy(self) -> float:
        """Seconds in which at least one request was under way."""
        total, end = 0.0, 0.0
        for begin, until in sorted(self.stretches):
            total += max(0.0, until - max(begin, end))
            end = max(end, until)
        return total

    async def _request(self) -> None:
        began = time.monotonic()
        try:
            status, _ = await self._platform.get(self._service, self._path)
            self.outcomes[str(status)] += 1
        except aiohttp.ClientError as error:
            self.outcomes[type(error).__name__] += 1
        self.stretches.append((began, time.monotonic()))


@contextlib.asynccontextmanager
async def steady(
    platform: Platform, service: str, path: str = "/?ms=100", rate: float = 50.0
) -> AsyncIterator[Steady]:
    """Send a load for as long as the block lasts; at its end all answers are in."""
    load = Steady(platform, service, path)
    running = asyncio.create_task(load.run(rate))
    try:
        yield load
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await load.finish()
