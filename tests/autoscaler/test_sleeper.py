"""Freezing and thawing one instance, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from windlass.autoscaler.sleeper import Sleeper

if TYPE_CHECKING:
    from tests.autoscaler.conftest import World

NAME = "hello-00001-a"


@pytest.fixture
async def sleeper(world: World) -> Sleeper:
    return Sleeper(NAME, world.runtime.cpu, world.audience, world.clock, delay=0.5)


async def test_routers_are_asked_then_it_is_frozen_then_they_are_told(
    world: World, sleeper: Sleeper
) -> None:
    await asyncio.sleep(0.4)
    assert world.audience.rests == []
    await asyncio.sleep(0.2)
    assert world.audience.rests == [f"{NAME} may rest, round 1"]
    assert not world.runtime.cpu.frozen
    sleeper.answered(1, released=True)
    assert world.runtime.cpu.frozen == {NAME}
    assert world.audience.rests[-1] == f"{NAME} is frozen"
    assert sleeper.frozen


async def test_one_in_use_is_awake_and_asked_again_later(world: World, sleeper: Sleeper) -> None:
    await asyncio.sleep(0.6)
    sleeper.answered(1, released=False)
    assert world.audience.rests[-1] == f"{NAME} is awake"
    await asyncio.sleep(0.6)
    assert world.audience.rests[-1] == f"{NAME} may rest, round 2"


async def test_requests_put_the_rest_off(world: World, sleeper: Sleeper) -> None:
    for _ in range(10):
        await asyncio.sleep(0.3)
        sleeper.loaded(0, world.clock())
    sleeper.loaded(2, world.clock())
    await asyncio.sleep(5)
    assert world.audience.rests == []


async def test_it_is_thawed_before_anyone_is_told(world: World, sleeper: Sleeper) -> None:
    await asyncio.sleep(0.6)
    sleeper.answered(1, released=True)
    # To see what comes first: the runtime and the audience have a record each.

    def thaw(instance: str) -> None:
        world.audience.rests.append("thawed")

    world.runtime.cpu.thaw = thaw  # type: ignore[method-assign]  # notes when it comes
    sleeper.wake()
    assert world.audience.rests[-2:] == ["thawed", f"{NAME} is awake"]
    sleeper.wake()
    assert len(world.audience.rests) == 4


async def test_a_report_of_requests_there_wakes_it(world: World, sleeper: Sleeper) -> None:
    await asyncio.sleep(0.6)
    sleeper.answered(1, released=True)
    sleeper.loaded(1, world.clock())
    assert not world.runtime.cpu.frozen


async def test_one_that_is_withheld_while_asked_is_not_frozen(
    world: World, sleeper: Sleeper
) -> None:
    await asyncio.sleep(0.6)
    sleeper.withhold(withheld=True)
    sleeper.answered(1, released=True)
    await asyncio.sleep(10)
    assert not world.runtime.cpu.freezes
    sleeper.withhold(withheld=False)
    await asyncio.sleep(0.6)
    assert world.audience.rests[-1] == f"{NAME} may rest, round 2"


async def test_one_that_is_to_end_is_not_frozen(world: World, sleeper: Sleeper) -> None:
    await asyncio.sleep(0.6)
    sleeper.end()
    sleeper.answered(1, released=True)
    await asyncio.sleep(10)
    assert not world.runtime.cpu.freezes
    assert len(world.audience.rests) == 1
