"""Looks at the platform every other second, once for all pages that are open."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from windlass.deploy.api.platform import Refused
from windlass.deploy.api.schema import NowView
from windlass.deploy.dashboard.pulse import Pulse

if TYPE_CHECKING:
    from windlass.deploy.api.platform import Platform
    from windlass.deploy.api.schema import CostView

INTERVAL = 2.0  # seconds between looks
COSTS_EVERY = 5  # looks: costs are read from the ledger
COSTS_SINCE = 3600.0  # seconds
log = structlog.get_logger(__name__)


class Watch:
    """What was seen at the last look, and lately."""

    def __init__(self, platform: Platform, interval: float = INTERVAL) -> None:
        self.pulse = Pulse()
        self.costs: dict[str, CostView] = {}
        self._platform = platform
        self._interval = interval
        self._looked = asyncio.Event()
        self._failed = False

    async def run(self) -> None:
        """Look until cancelled; a look that fails is logged once, and tried again."""
        turn = 0
        while True:
            try:
                await self.look(costs=turn % COSTS_EVERY == 0)
                self._failed = False
            except Exception:  # whatever it is, pages go on with what was seen before
                if not self._failed:
                    log.exception("dashboard.look")
                self._failed = True
            turn += 1
            await asyncio.sleep(self._interval)

    async def look(self, *, costs: bool) -> None:
        """Look once, and wake the pages that wait."""
        self.pulse.take(time.time(), await self._platform.overview())
        if costs:
            try:
                found = await self._platform.costs(time.time() - COSTS_SINCE)
                self.costs = {cost.service: cost for cost in found}
            except Refused as refused:
                log.warning("dashboard.costs", why=str(refused))
        self._looked.set()
        self._looked = asyncio.Event()

    async def now(self) -> list[NowView]:
        """Return how every service does at this moment, by name; rates are as of the last look."""
        views = []
        for view in await self._platform.overview():
            recent = self.pulse.recent(view.name)
            views.append(
                NowView(
                    service=view,
                    requests_per_second=recent.requests_per_second,
                    p50=recent.p50,
                    p99=recent.p99,
                    cost=self.costs.get(view.name),
                )
            )
        return views

    async def look_first(self) -> None:
        """Look once if nobody has yet."""
        if not self.pulse.time:
            await self.look(costs=True)

    async def next_look(self) -> None:
        """Return after the next look."""
        await self._looked.wait()
