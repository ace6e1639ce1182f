from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from windlass.autoscaler.decide import Kind
from windlass.autoscaler.fleet import Past
from windlass.model.instance import Exit, State
from windlass.model.service import Container, Limits, Mode
from windlass.runtime.base import Start, StartFailed
from windlass.runtime.fake import Behaviour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.autoscaler.conftest import World

NAME = "hello-00001"
CRASHES = Behaviour(lines=("listening", "no such table: users"), exit_after=0.2, listens=False)
LIFE = [State.STARTING, State.READY, State.DRAINING, State.STOPPING, State.STOPPED]


@pytest.fixture(autouse=True)
async def running(world: World) -> AsyncIterator[None]:
    run = asyncio.create_task(world.autoscaler.run())
    yield
    world.runtime.available = True
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    await world.autoscaler.stop(0)
    assert world.runtime.known == []


async def test_from_zero_to_one_to_several_and_back_to_zero(world: World) -> None:
    world.add()
    assert world.autoscaler.instances(NAME) == []
    world.autoscaler.starved(NAME, 1, 0)
    assert world.count(State.STARTING) == 1
    await asyncio.sleep(0.7)
    assert world.count(State.READY) == 1
    await world.hold(10, in_flight=20)
    assert world.count(State.READY) == 1
    world.autoscaler.starved(NAME, 120, 80)
    assert world.count(State.STARTING) == 2
    await world.hold(10, in_flight=150)
    several = world.count(State.READY)
    assert several >= 3
    await world.hold(95, in_flight=0)
    await asyncio.sleep(1)
    assert world.autoscaler.instances(NAME) == []
    assert len(world.runtime.starts) == several
    for instance in {each.id for each in world.audience.changes}:
        assert world.audience.states(instance) == LIFE
    assert [world.audience.kinds[0], world.audience.kinds[-1]] == [Kind.NOTHING, Kind.NOTHING]


async def test_a_start_takes_no_longer_than_the_instance_does(world: World) -> None:
    world.add()
    assert world.autoscaler.average_start(NAME) is None
    world.autoscaler.starved(NAME, 1, 0)
    await asyncio.sleep(0.75)
    average = world.autoscaler.average_start(NAME)
    assert average is not None
    assert 0.6 <= average < 0.7  # 0.5 s start, 0.1 s until it listens, one pause between probes


async def test_a_burst_in_lambda_mode_begins_no_more_starts_than_the_runtime_takes(
    world: World,
) -> None:
    world.add(mode=Mode.LAMBDA)
    world.autoscaler.starved(NAME, 70, 0)
    await asyncio.sleep(0.4)
    assert len(world.runtime.starts) == 4
    world.autoscaler.seen(NAME, 0, 1, 0, 6, 0)  # clients gave up: six are left
    await asyncio.sleep(5)
    assert len(world.runtime.starts) == 6
    assert world.runtime.most_starting == 4


async def test_revisions_take_turns_for_starts(world: World) -> None:
    world.add("one-00001", mode=Mode.LAMBDA)
    world.add("two-00001", mode=Mode.LAMBDA)
    world.autoscaler.starved("one-00001", 50, 0)
    world.autoscaler.starved("two-00001", 1, 0)
    await asyncio.sleep(0.75)
    assert "two-00001" in {each.revision for each in world.runtime.starts}


async def test_the_minimum_is_warm_without_a_request(world: World) -> None:
    world.add(min_instances=2)
    await asyncio.sleep(300)
    assert world.count(State.READY) == 2
    assert len(world.runtime.starts) == 2


async def test_an_unreachable_revision_goes_to_zero_and_comes_back(world: World) -> None:
    world.add(min_instances=1)
    await asyncio.sleep(1)
    world.autoscaler.set_reachable(NAME, False)
    assert world.count(State.DRAINING) == 1
    world.autoscaler.drained(world.autoscaler.instances(NAME)[0].id)
    await asyncio.sleep(60)
    assert world.autoscaler.instances(NAME) == []
    world.autoscaler.set_reachable(NAME, True)
    await asyncio.sleep(1)
    assert world.count(State.READY) == 1


async def test_a_crashed_instance_is_told_with_its_last_lines_and_replaced(world: World) -> None:
    world.add(min_instances=1)
    await asyncio.sleep(20)
    crashed = world.autoscaler.instances(NAME)[0].id
    world.runtime.write(crashed, "Segmentation fault")
    world.runtime.end(crashed, Exit(signal=11))
    await asyncio.sleep(1)
    (failed,) = world.audience.ended
    assert failed.state is State.FAILED
    assert failed.reason == (
        "ended by itself: signal 11 (SIGSEGV). Its last lines:\nSegmentation fault"
    )
    assert [each.id for each in world.autoscaler.instances(NAME)] != [crashed]
    assert world.count(State.READY) == 1
    assert world.audience.failed == []


async def test_a_crash_loop_backs_off_and_nobody_waits_for_it(world: World) -> None:
    world.behaviour = CRASHES
    world.add(min_instances=1)
    await asyncio.sleep(130)
    # 0.2 s each, with pauses of 1, 2, 4, 8, 16, 32, 60 s between
    assert len(world.runtime.starts) == 8
    told = len(world.audience.failed)
    world.autoscaler.starved(NAME, 3, 0)
    revision, reason = world.audience.failed[told]
    assert revision == NAME
    assert reason.startswith("8 starts in a row failed, the next one is in ")
    assert "no such table: users" in reason
    assert len(world.runtime.starts) == 8


async def test_after_a_crash_loop_a_sound_instance_serves(world: World) -> None:
    world.behaviour = CRASHES
    world.add(min_instances=1)
    await asyncio.sleep(3)
    world.behaviour = Behaviour()
    await asyncio.sleep(5)
    assert world.count(State.READY) == 1


async def test_a_start_that_fails_answers_those_who_wait(world: World) -> None:
    world.behaviour = Behaviour(start_fault="no space left on device")
    world.add()
    world.autoscaler.starved(NAME, 1, 0)
    await asyncio.sleep(0.1)
    assert world.audience.failed == [
        (NAME, "the fake runtime was told to fail: no space left on device")
    ]


async def test_one_failed_start_of_several_is_no_reason_to_answer(world: World) -> None:
    def behave(request: Start) -> Behaviour:
        return CRASHES if len(world.runtime.starts) == 1 else Behaviour()

    world.runtime.behave = behave
    world.add()
    world.autoscaler.starved(NAME, 200, 0)
    await asyncio.sleep(0.5)
    assert len(world.audience.ended) == 1
    assert world.audience.failed == []


async def test_a_check_returns_when_an_instance_is_ready_and_keeps_it_for_the_first_request(
    world: World,
) -> None:
    world.add()
    await world.autoscaler.check(NAME)
    assert world.count(State.READY) == 1
    await world.autoscaler.check(NAME)
    assert len(world.runtime.starts) == 1
    await asyncio.sleep(80)
    assert world.count(State.READY) == 1
    await asyncio.sleep(12)
    assert world.count(State.DRAINING) == 1


async def test_a_check_of_a_revision_without_traffic_leaves_nothing_behind(world: World) -> None:
    world.add()
    world.autoscaler.set_reachable(NAME, False)
    await world.autoscaler.check(NAME)
    assert world.count(State.DRAINING) == 1


async def test_a_check_fails_at_once_with_the_last_lines_when_the_image_exits(
    world: World,
) -> None:
    world.behaviour = CRASHES
    world.add()
    begin = asyncio.get_running_loop().time()
    with pytest.raises(StartFailed, match="hello-00001 does not come up") as caught:
        await world.autoscaler.check(NAME)
    assert asyncio.get_running_loop().time() - begin < 1
    assert caught.value.detail == (
        "ended before it took requests on port 8080: exit code 1. Its last lines:\n"
        "listening\nno such table: users"
    )
    await asyncio.sleep(30)
    assert len(world.runtime.starts) == 1  # nobody wants another


async def test_a_check_fails_when_nothing_listens_in_time(world: World) -> None:
    world.behaviour = Behaviour(listens=False)
    world.add(limits=Limits(startup_timeout=5))
    with pytest.raises(StartFailed, match="took no request on port 8080 within 5 s"):
        await world.autoscaler.check(NAME)
    assert len(world.runtime.killed) == 1


async def test_a_check_does_not_wait_for_the_pause_after_a_failure(world: World) -> None:
    world.behaviour = CRASHES
    world.add()
    for _ in range(3):
        with pytest.raises(StartFailed):
            await world.autoscaler.check(NAME)
    assert len(world.runtime.starts) == 3


async def test_removing_drains_what_is_ready_and_stops_what_starts(world: World) -> None:
    world.add(min_instances=1)
    await asyncio.sleep(1)
    world.autoscaler.starved(NAME, 20, 80)
    removing = asyncio.create_task(world.autoscaler.remove(NAME))
    await asyncio.sleep(2)
    assert not removing.done()  # requests are still in flight
    assert world.count(State.STARTING) == 0
    world.autoscaler.drained(world.autoscaler.instances(NAME)[0].id)
    await removing
    assert world.runtime.known == []
    world.autoscaler.starved(NAME, 5, 0)
    assert world.autoscaler.instances(NAME) == []


async def test_removing_ends_a_check(world: World) -> None:
    world.add()
    checking = asyncio.create_task(world.autoscaler.check(NAME))
    await asyncio.sleep(0.1)
    await world.autoscaler.remove(NAME)
    with pytest.raises(StartFailed, match="was removed"):
        await checking


async def test_stopping_drains_and_stops_all_in_parallel(world: World) -> None:
    world.behaviour = Behaviour(stop_delay=3)
    world.add("one-00001", min_instances=5)
    world.add("two-00001", min_instances=5)
    await asyncio.sleep(5)
    begin = asyncio.get_running_loop().time()
    await world.autoscaler.stop(grace=4)
    assert asyncio.get_running_loop().time() - begin == pytest.approx(7, abs=0.1)
    assert [each.state for each in world.audience.ended] == [State.STOPPED] * 10
    await asyncio.sleep(10)
    assert len(world.runtime.starts) == 10


async def test_an_instance_that_the_router_cannot_reach_is_replaced(world: World) -> None:
    world.add(min_instances=1)
    await asyncio.sleep(30)
    deaf = world.autoscaler.instances(NAME)[0].id
    world.autoscaler.unreachable(deaf, 3, "connection refused")
    await asyncio.sleep(1)
    assert world.audience.ended == []  # it answers a probe
    world.runtime.deafen(deaf)
    world.autoscaler.unreachable(deaf, 3, "connection refused")
    await asyncio.sleep(2)
    (failed,) = world.audience.ended
    assert failed.reason.startswith("no longer takes connections: 3 connections in a row failed")
    assert world.count(State.READY) == 1


async def test_idle_instances_are_drained_first(world: World) -> None:
    world.add(min_instances=3)
    await asyncio.sleep(1)
    first, second, third = (each.id for each in world.autoscaler.instances(NAME))
    world.autoscaler.loaded(first, 5, 0)
    world.autoscaler.loaded(third, 9, 0)
    world.autoscaler.set_reachable(NAME, False)
    drained = [each.id for each in world.audience.changes if each.state is State.DRAINING]
    assert drained == [second, first, third]


async def test_decisions_are_told_and_kept_when_they_change(world: World) -> None:
    world.add()
    world.autoscaler.starved(NAME, 1, 0)
    await world.hold(30, in_flight=20)
    told = [(each.desired, each.kind) for each in world.audience.decisions]
    assert told[:2] == [(0, Kind.NOTHING), (1, Kind.STARVED)]
    assert told[-1] == (1, Kind.STABLE)
    assert len(told) < 6
    explained = world.autoscaler.explain(NAME)
    assert [(each.desired, each.kind) for each in explained] == told
    assert explained[1].observation.queued == 1


async def test_an_engine_that_is_away_is_tried_again(world: World) -> None:
    world.runtime.available = False
    world.add(min_instances=1)
    await asyncio.sleep(10)
    assert world.autoscaler.instances(NAME) == []
    world.runtime.available = True
    await asyncio.sleep(30)
    assert world.count(State.READY) == 1


async def left_behind(world: World, revision: str, name: str) -> None:
    """Start an instance as an earlier platform did."""
    await world.runtime.start(
        Start(
            instance=name,
            revision=revision,
            service="hello",
            container=Container(image="hello"),
            limits=Limits(),
        )
    )


async def test_instances_of_an_earlier_platform_are_adopted_or_stopped(world: World) -> None:
    world.behaviour = Behaviour()
    known = world.revision()
    for name in ("sound", "deaf"):
        await left_behind(world, NAME, name)
    await left_behind(world, "gone-00001", "unknown")
    world.runtime.deafen("deaf")
    await world.autoscaler.adopt({NAME: known}, {})
    assert [(each.id, each.state) for each in world.audience.changes] == [("sound", State.READY)]
    await asyncio.sleep(1)
    assert world.runtime.signalled == ["deaf", "unknown"]
    assert world.runtime.known == ["sound"]


async def test_what_an_earlier_platform_knew_of_an_instance_goes_on(world: World) -> None:
    world.behaviour = Behaviour()
    for name in ("busy", "leaving", "booting"):
        await left_behind(world, NAME, name)
    for name in ("busy", "booting"):
        world.runtime.deafen(name)
    past = {"busy": Past(100, 200), "leaving": Past(100, 200, 300), "booting": Past(100)}
    await world.autoscaler.adopt({NAME: world.revision()}, past)
    [adopted] = world.audience.changes
    assert (adopted.id, adopted.started, adopted.ready) == ("busy", 100, 200)
    await asyncio.sleep(1)
    assert world.runtime.known == ["busy"]


async def test_no_instance_is_started_in_place_of_one_that_will_be_adopted(world: World) -> None:
    world.behaviour = Behaviour()
    await left_behind(world, NAME, "hello-0")
    world.autoscaler.hold()
    world.add(min_instances=2)
    await world.autoscaler.adopt({NAME: world.revision(min_instances=2)}, {})
    await asyncio.sleep(1)
    assert len(world.runtime.starts) == 2
    assert world.count(State.READY) == 2


async def test_adopted_instances_stay_until_their_demand_is_known(world: World) -> None:
    world.behaviour = Behaviour()
    world.add()
    for number in range(3):
        await left_behind(world, NAME, f"hello-{number}")
    await world.autoscaler.adopt({NAME: world.revision()}, {})
    await world.hold(50, in_flight=100)
    assert world.count(State.READY) == 3
    await world.hold(30, in_flight=100)
    assert world.count(State.READY) == 2
    assert len(world.runtime.starts) == 3
