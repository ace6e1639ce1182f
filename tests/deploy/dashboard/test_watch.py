"""One watch looks for all pages; the ledger is read only while somebody wants to see costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.deploy.dashboard.staging import StagedPlatform

from windlass.deploy.dashboard.watch import COSTS_EVERY, Watch

if TYPE_CHECKING:
    from windlass.deploy.api.schema import CostView


class Counting(StagedPlatform):
    """Counts how often costs are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def costs(self, since: float) -> list[CostView]:
        self.asked += 1
        return await super().costs(since)


@pytest.fixture
async def platform() -> Counting:
    platform = Counting()
    await platform.stage("hello", "orders")
    return platform


async def look(watch: Watch, times: int) -> None:
    for _ in range(times):
        await watch.look()


async def test_nobody_who_looks_means_no_costs_read(platform: Counting) -> None:
    watch = Watch(platform)
    await look(watch, 100)
    assert (platform.asked, sorted(watch.pulse.latest)) == (0, ["hello", "orders"])


async def test_the_first_who_looks_after_a_while_is_shown_costs_of_now(platform: Counting) -> None:
    watch = Watch(platform)
    for seen in (1, 2):
        await look(watch, 100)
        await watch.attend()
        assert platform.asked == seen
        assert watch.costs
    await watch.attend()  # another page, at the same time
    assert platform.asked == 2


async def test_a_page_that_stays_open_has_costs_every_few_looks(platform: Counting) -> None:
    watch = Watch(platform)
    await watch.attend()
    for _ in range(10 * COSTS_EVERY):
        waiting = asyncio.create_task(watch.next_look())
        await asyncio.sleep(0)
        await watch.look()
        await waiting
    assert platform.asked == 1 + 10
    await look(watch, 10 * COSTS_EVERY)  # it was closed
    assert platform.asked == 1 + 10


async def test_costs_that_cannot_be_read_stay_as_they_were(platform: Counting) -> None:
    watch = Watch(platform)
    await watch.attend()
    before = watch.costs
    platform.ledger_fails = True
    await watch.attend()
    await look(watch, COSTS_EVERY)
    assert (watch.costs, platform.asked) == (before, 2)
