"""Looks at the platform every other second, once for all pages that are open.

What costs more than a look, which is what services cost, is read only while somebody wants it.
"""

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
COSTS_EVERY = 5  # looks: costs take a row of the ledger for each instance of that time
COSTS_SINCE = 3600.0  # seconds
COSTS_OLD = 2 * COSTS_EVERY  # looks after which they are not shown before they are read again
log = structlog.get_logger(__name__)


class Watch:
    """What was seen at the last look, and lately."""

    def __init__(self, platform: Platform, interval: float = INTERVAL) -> None:
        self.pulse = Pulse()
        self.costs: dict[str, CostView] = {}
        self._platform = platform
        self._interval = interval
        self._looked = asyncio.Event()
        self._looks = 0
        self._costs_read = -COSTS_OLD  # at which look
        self._attended = False  # since then
        self._failed = False

    async def run(self) -> None:
        """Look until cancelled; a look that fails is logged once, and tried again."""
        while True:
            try:
                await self.look()
                self._failed = False
            except Exception:  # whatever it is, pages go on with what was seen before
                if not self._failed:
                    log.exception("dashboard.look")
                self._failed = True
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Look once, and wake the pages that wait."""
        self.pulse.take(time.time(), await self._platform.overview())
        self._looks += 1
        if self._attended and self._looks >= self._costs_read + COSTS_EVERY:
            self._costs_read, self._attended = self._looks, False
            await self._read_costs()
        self._looked.set()
        self._looked = asyncio.Event()

    async def _read_costs(self) -> None:
        try:
            found = await self._platform.costs(time.time() - COSTS_SINCE)
            self.costs = {cost.service: cost for cost in found}
        except Refused as refused:
            log.warning("dashboard.costs", why=str(refused))

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

    async def attend(self) -> None:
        """Hear that somebody wants to see; look at once where all that is known is too old."""
        self._attended = True
        if self._looks >= self._costs_read + COSTS_OLD:
            await self.look()

    async def next_look(self) -> None:
        """Return after the next look."""
        self._attended = True
        await self._looked.wait()
