"""The platform stops: instances end side by side, and a runtime that is away holds up nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from windlass.autoscaler.fleet import SLOWER_THAN_GRACE
from windlass.model.instance import State
from windlass.runtime.fake import Behaviour

if TYPE_CHECKING:
    import pytest
    from tests.autoscaler.conftest import World
NAME = "hello-00001"
GRACE = 10.0  # seconds from SIGTERM to SIGKILL, as usual


async def stop(world: World) -> tuple[float, list[Any]]:
    """Return the seconds that it took, and what was logged."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with capture_logs() as logged:
        await world.autoscaler.stop(0)
    return loop.time() - begun, logged


def said(logged: list[Any], words: str) -> list[Any]:
    return [entry for entry in logged if words in entry["event"]]


async def three_ready(world: World) -> list[str]:
    world.add(min_instances=3)
    await asyncio.sleep(2)
    assert world.count(State.READY) == 3
    return sorted(each.id for each in world.autoscaler.instances(NAME))


async def test_instances_that_ignore_sigterm_are_killed_side_by_side(world: World) -> None:
    world.behaviour = Behaviour(stop_delay=None)
    names = await three_ready(world)
    took, logged = await stop(world)
    assert GRACE <= took < GRACE + 0.1
    assert sorted(world.runtime.killed) == names
    assert world.runtime.known == []
    told = said(logged, "waiting for instances")
    assert (told[0]["count"], told[0]["instances"]) == (3, names)
    assert said(logged, "left behind") == []


async def test_with_an_engine_that_is_away_a_stop_is_bounded_and_says_what_is_left(
    world: World,
) -> None:
    names = await three_ready(world)
    world.runtime.available = False
    took, logged = await stop(world)
    assert took == GRACE + SLOWER_THAN_GRACE
    waited = said(logged, "waiting for instances")
    assert [each["instances"] for each in waited] == [names] * 2
    [left] = said(logged, "left behind")
    assert (left["log_level"], left["count"], left["instances"]) == ("error", 3, names)
    # Not known to have ended: the next platform ends them, and the bill goes up to there.
    assert {world.audience.states(name)[-1] for name in names} == {State.STOPPING}


async def test_an_engine_whose_calls_never_return_holds_up_no_stop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await three_ready(world)

    async def hang(instance: str) -> None:
        await asyncio.sleep(1000)

    for call in ("signal_stop", "kill", "remove"):
        monkeypatch.setattr(world.runtime, call, hang)
    took, logged = await stop(world)
    assert took == GRACE + SLOWER_THAN_GRACE
    [left] = said(logged, "left behind")
    assert left["instances"] == names


async def test_an_engine_that_comes_back_in_time_ends_all(world: World) -> None:
    names = await three_ready(world)
    world.runtime.available = False
    asyncio.get_running_loop().call_later(4, setattr, world.runtime, "available", True)
    _, logged = await stop(world)
    assert said(logged, "left behind") == []
    assert {world.audience.states(name)[-1] for name in names} == {State.STOPPED}
    assert world.runtime.known == []


async def test_a_slow_engine_is_waited_for_as_long_as_it_gets_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.behaviour = Behaviour(stop_delay=None)
    names = await three_ready(world)
    one_at_a_time, kill = asyncio.Lock(), world.runtime.kill

    async def kill_slowly(instance: str) -> None:
        async with one_at_a_time:
            await asyncio.sleep(4)
            await kill(instance)

    monkeypatch.setattr(world.runtime, "kill", kill_slowly)
    took, logged = await stop(world)
    assert took > GRACE + 2 * SLOWER_THAN_GRACE
    assert said(logged, "left behind") == []
    assert {world.audience.states(name)[-1] for name in names} == {State.STOPPED}
