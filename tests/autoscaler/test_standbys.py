"""Containers made ahead: how many, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.autoscaler.standbys import due
from windlass.runtime.fake import Behaviour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.autoscaler.conftest import World

NAME = "hello-00001"


@pytest.fixture
async def running(world: World) -> AsyncIterator[World]:
    task = asyncio.create_task(world.autoscaler.run())
    yield world
    task.cancel()
    await world.autoscaler.stop(0.0)


def standing(world: World) -> int:
    return len(world.autoscaler.standing_by(NAME))


async def test_one_stands_by_for_a_revision_that_nobody_calls(running: World) -> None:
    running.add()
    await asyncio.sleep(3)
    assert standing(running) == 1
    assert running.autoscaler.instances(NAME) == []


async def test_a_start_takes_it_and_another_is_made_once_nothing_boots(running: World) -> None:
    running.behaviour = Behaviour(start_delay=0.1, listen_delay=0.6)
    running.add()
    await asyncio.sleep(2.5)
    for _ in range(3):
        running.autoscaler.starved(NAME, 1, 0)
        await asyncio.sleep(0.5)
    assert standing(running) == 0  # it boots still
    await asyncio.sleep(2)
    assert standing(running) == 1
    assert running.runtime.standby.made == 2


async def test_none_wanted_is_none_made(running: World) -> None:
    running.add(standby=0)
    await asyncio.sleep(5)
    assert running.runtime.standby.made == 0


async def test_those_of_a_revision_that_nobody_reaches_are_removed(running: World) -> None:
    running.add(standby=3)
    await asyncio.sleep(3)
    assert standing(running) == 3
    running.autoscaler.set_reachable(NAME, False)
    await asyncio.sleep(3)
    assert standing(running) == 0


async def test_those_of_a_removed_revision_are_gone_when_it_is(running: World) -> None:
    running.add()
    await asyncio.sleep(3)
    await running.autoscaler.remove(NAME)
    assert standing(running) == 0
    await asyncio.sleep(5)
    assert standing(running) == 0


async def test_one_that_cannot_be_made_is_not_tried_all_the_time(running: World) -> None:
    running.runtime.standby.fault = "no room"
    running.add()
    await asyncio.sleep(30)
    running.runtime.standby.fault = ""
    await asyncio.sleep(20)
    assert standing(running) == 0
    await asyncio.sleep(20)
    assert standing(running) == 1


@given(st.integers(0, 5), st.integers(0, 5), st.booleans(), st.booleans())
def test_none_is_made_beside_a_boot_and_too_many_always_go(
    wanted: int, waiting: int, starting: bool, paused: bool
) -> None:
    now = due(wanted, waiting, starting=starting, paused=paused)
    if waiting > wanted:
        assert now
    elif now:
        assert waiting < wanted
        assert not starting
        assert not paused
