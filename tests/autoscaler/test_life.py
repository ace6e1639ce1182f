from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from windlass.autoscaler.fleet import Fleet
from windlass.autoscaler.life import Surroundings, boosted, describe
from windlass.model.instance import Exit, Instance, State
from windlass.model.service import GIB, Limits, Probe
from windlass.runtime.fake import Behaviour, FakeRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.autoscaler.conftest import World

    from windlass.model.instance import Address
    from windlass.model.service import Container
    from windlass.runtime.base import LogLine

LONG = Limits(timeout=60, startup_timeout=8)


class Stage:
    """A fleet of one instance, and all that is told of it."""

    def __init__(self, world: World) -> None:
        self.runtime: FakeRuntime = world.runtime
        self.told: list[Instance] = []
        self.lines: list[str] = []
        self.returned = 0
        self.revision = world.revision(limits=LONG)
        self.failing: set[str] = set()  # paths of http probes
        self.withheld: list[str] = []
        self.slow = 0.0  # seconds that a probe takes
        self.fleet = Fleet(
            Surroundings(
                runtime=self.runtime,
                clock=world.clock,
                stop_grace=10.0,
                answers=self.runtime.answers,
                passes=self.passes,
                tell=self.told.append,
                tell_line=self.hear,
                tell_withheld=lambda instance, reason: self.withheld.append(reason),
                start_done=self.count,
                routers=world.audience,
                rest_after=0.5,
            )
        )

    def hear(self, instance: str, line: LogLine) -> None:
        self.lines.append(line.text)

    async def passes(self, probe: Probe, container: Container, address: Address) -> bool:
        await asyncio.sleep(self.slow)
        return probe.path not in self.failing

    def probed(self, **probes: Probe) -> None:
        """Give the revision probes."""
        template = self.revision.template
        container = msgspec.structs.replace(template.container, **probes)
        changed = msgspec.structs.replace(template, container=container)
        self.revision = msgspec.structs.replace(self.revision, template=changed)

    def count(self) -> None:
        self.returned += 1

    async def begin(self, behaviour: Behaviour | None = None) -> str:
        """Start an instance; return its name."""
        self.runtime.behave = lambda request: behaviour or Behaviour()
        self.fleet.begin(self.revision, "a request waits")
        await asyncio.sleep(0.01)
        return self.told[0].id

    async def watch(self) -> None:
        async for event in self.runtime.ended():
            self.fleet.ended(event)

    @property
    def states(self) -> list[State]:
        return [each.state for each in self.told]

    @property
    def last(self) -> Instance:
        return self.told[-1]


@pytest.fixture
async def stage(world: World) -> AsyncIterator[Stage]:
    stage = Stage(world)
    watching = asyncio.create_task(stage.watch())
    yield stage
    await stage.fleet.stop(0, "the test is over")
    watching.cancel()
    assert stage.runtime.known == []


async def test_each_moment_of_a_life_is_kept(stage: Stage) -> None:
    name = await stage.begin(Behaviour(start_delay=1, listen_delay=2, stop_delay=3))
    assert (stage.states, stage.returned) == ([State.STARTING], 0)
    await asyncio.sleep(1.5)
    assert (stage.states, stage.returned) == ([State.STARTING], 0)
    await asyncio.sleep(0.6)  # it boots for so long that another may start beside it
    assert (stage.states, stage.returned) == ([State.STARTING], 1)
    await asyncio.sleep(4.9)
    stage.fleet.drain(name, "calm")
    await asyncio.sleep(10)
    stage.fleet.drained(name)
    await asyncio.sleep(5)
    assert stage.states == [
        State.STARTING,
        State.READY,
        State.DRAINING,
        State.STOPPING,
        State.STOPPED,
    ]
    begin, life = stage.told[0].started, stage.last
    assert life.ready is not None
    assert life.stopping is not None
    assert life.ended is not None
    moments = [(moment - begin) / 1e9 for moment in (life.ready, life.stopping, life.ended)]
    assert moments == pytest.approx([3, 17.01, 20.01], abs=0.11)
    assert life.exit == Exit(signal=15)
    assert stage.fleet.instances("hello-00001") == []


async def test_the_next_start_waits_for_a_quick_boot_and_is_let_go_once(stage: Stage) -> None:
    await stage.begin(Behaviour(start_delay=0.2, listen_delay=0.5))
    await asyncio.sleep(0.6)
    assert stage.returned == 0
    await asyncio.sleep(5)
    assert (stage.states[-1], stage.returned) == (State.READY, 1)


async def test_draining_is_told_before_anything_is_stopped(stage: Stage) -> None:
    name = await stage.begin()
    stage.fleet.drain(name, "calm")
    assert (stage.states[-1], stage.last.reason) == (State.DRAINING, "calm")
    await asyncio.sleep(5)
    assert stage.runtime.signalled == []


async def test_draining_waits_for_the_router_but_not_beyond_the_request_timeout(
    stage: Stage,
) -> None:
    name = await stage.begin()
    stage.fleet.drain(name, "calm")
    await asyncio.sleep(59)
    assert State.STOPPING not in stage.states
    await asyncio.sleep(2)
    assert State.STOPPED in stage.states


async def test_an_instance_that_ignores_sigterm_is_killed_after_the_grace(stage: Stage) -> None:
    name = await stage.begin(Behaviour(stop_delay=None))
    stage.fleet.drain(name, "calm")
    stage.fleet.drained(name)
    await asyncio.sleep(9)
    assert (stage.states[-1], stage.runtime.killed) == (State.STOPPING, [])
    await asyncio.sleep(2)
    assert (stage.states[-1], stage.runtime.killed) == (State.STOPPED, [name])


async def test_an_instance_given_up_while_it_starts_is_stopped(stage: Stage) -> None:
    name = await stage.begin(Behaviour(start_delay=1, listens=False))
    stage.fleet.give_up(name)
    await asyncio.sleep(3)
    assert stage.states == [State.STARTING, State.STOPPING, State.STOPPED]


async def test_one_that_never_listens_is_killed_and_says_what_to_do(stage: Stage) -> None:
    name = await stage.begin(Behaviour(listens=False, lines=("hi", "on 127.0.0.1:3000")))
    await asyncio.sleep(9)
    assert stage.runtime.killed == [name]
    assert (stage.states[-1], stage.last.exit) == (State.FAILED, Exit(signal=9))
    assert stage.last.reason == (
        "took no request on port 8080 within 8 s: it must listen on 0.0.0.0 and the port in "
        "$PORT. Its last lines:\nhi\non 127.0.0.1:3000"
    )


async def test_one_that_never_passes_its_probe_says_which(stage: Stage) -> None:
    probe = Probe(kind="grpc", grpc_service="shop", period=2, failure_threshold=4)
    stage.probed(startup_probe=probe)
    await stage.begin(Behaviour(listens=False))
    await asyncio.sleep(9)
    assert stage.last.state is State.FAILED
    assert stage.last.reason.startswith(
        "did not pass its startup probe (grpc shop) within 8 s: it must listen on 0.0.0.0"
    )


async def test_only_the_last_20_lines_are_said(stage: Stage) -> None:
    lines = tuple(f"line {number}" for number in range(50))
    await stage.begin(Behaviour(listens=False, lines=lines, exit_after=1))
    await asyncio.sleep(2)
    assert stage.last.reason.splitlines()[1:] == list(lines[-20:])
    assert stage.lines == list(lines)


async def test_a_start_that_fails_leaves_nothing_to_kill(stage: Stage) -> None:
    await stage.begin(Behaviour(start_fault="no such image"))
    assert stage.states == [State.STARTING, State.FAILED]
    assert stage.last.reason == "the fake runtime was told to fail: no such image"
    assert (stage.runtime.killed, stage.returned) == ([], 1)


async def test_an_end_nobody_asked_for_is_a_failure_also_in_draining(stage: Stage) -> None:
    name = await stage.begin()
    stage.fleet.drain(name, "calm")
    stage.runtime.end(name, Exit(code=0))
    await asyncio.sleep(1)
    assert stage.states[-1] is State.FAILED
    assert stage.last.reason == "ended by itself: exit code 0"


async def test_an_end_during_stopping_is_as_asked(stage: Stage) -> None:
    name = await stage.begin(Behaviour(stop_delay=5))
    stage.fleet.drain(name, "calm")
    stage.fleet.drained(name)
    await asyncio.sleep(1)
    stage.runtime.end(name, Exit(code=3))
    await asyncio.sleep(1)
    assert (stage.states[-1], stage.last.exit) == (State.STOPPED, Exit(code=3))


async def test_an_engine_that_is_away_does_not_keep_an_instance_from_ending(
    stage: Stage,
) -> None:
    name = await stage.begin()
    stage.fleet.drain(name, "calm")
    stage.runtime.available = False
    stage.fleet.drained(name)
    await asyncio.sleep(5)
    stage.runtime.available = True
    await asyncio.sleep(10)  # SIGKILL after the grace
    assert (stage.states[-1], stage.runtime.killed) == (State.STOPPED, [name])


async def test_what_an_instance_prints_is_told_as_it_does(stage: Stage) -> None:
    name = await stage.begin(Behaviour(lines=("listening",)))
    stage.runtime.write(name, "GET /")
    await asyncio.sleep(0.01)
    assert stage.lines == ["listening", "GET /"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Exit(code=1), "exit code 1"),
        (Exit(signal=9), "signal 9 (SIGKILL)"),
        (Exit(signal=250), "signal 250"),
        (Exit(signal=9, out_of_memory=True), "out of memory, over its limit of 1024 MiB"),
        (Exit(code=127, reason="not found"), "exit code 127 (not found)"),
        (Exit(), "nobody knows how"),
    ],
)
def test_an_end_is_said_in_words(how: Exit, said: str) -> None:
    assert describe(how, Limits(memory=GIB)) == said


LIVE = Probe(kind="http", path="/live", period=5.0, failure_threshold=2)
READY = Probe(kind="http", path="/ready", period=1.0, failure_threshold=1)


async def test_an_instance_that_is_no_longer_alive_is_ended_with_its_reason(stage: Stage) -> None:
    stage.probed(liveness_probe=LIVE)
    name = await stage.begin()
    await asyncio.sleep(60)
    assert stage.states == [State.STARTING, State.READY]
    stage.failing = {"/live"}
    await asyncio.sleep(11)
    assert stage.states == [State.STARTING, State.READY, State.FAILED]
    assert stage.last.reason == "its liveness probe (http GET /live) failed 2 times in a row"
    assert stage.runtime.killed == [name]


async def test_one_failure_below_the_threshold_ends_nothing(stage: Stage) -> None:
    stage.probed(liveness_probe=LIVE)
    await stage.begin()
    for _ in range(5):
        stage.failing = {"/live"}
        await asyncio.sleep(5)
        stage.failing = set()
        await asyncio.sleep(5)
    assert stage.states == [State.STARTING, State.READY]


async def test_an_instance_gets_no_requests_while_its_readiness_probe_fails(stage: Stage) -> None:
    stage.probed(readiness_probe=READY)
    stage.failing = {"/ready"}
    await stage.begin()
    await asyncio.sleep(1)
    assert stage.states == [State.STARTING]
    stage.failing = set()
    await asyncio.sleep(1)
    assert stage.states == [State.STARTING, State.READY]
    stage.failing = {"/ready"}
    await asyncio.sleep(3)
    stage.failing = set()
    await asyncio.sleep(3)
    assert stage.withheld == ["its readiness probe (http GET /ready) failed once", ""]
    assert stage.states == [State.STARTING, State.READY]


async def test_a_start_has_more_cpu_until_it_is_ready(stage: Stage) -> None:
    name = await stage.begin(Behaviour(listen_delay=2))
    assert [start.boost for start in stage.runtime.starts] == [2000]
    assert name not in stage.runtime.cpu.limits
    await asyncio.sleep(3)
    assert stage.runtime.cpu.limits == {name: 1000}


async def test_a_start_without_boost_has_its_limit(stage: Stage) -> None:
    limits = msgspec.structs.replace(LONG, cpu_boost=False)
    stage.revision = msgspec.structs.replace(
        stage.revision,
        template=msgspec.structs.replace(stage.revision.template, limits=limits),
    )
    await stage.begin()
    assert [start.boost for start in stage.runtime.starts] == [0]


@pytest.mark.parametrize(
    ("milli_cpu", "expected"), [(100, 2000), (1000, 2000), (2000, 4000), (6000, 8000), (16000,) * 2]
)
def test_the_boost_is_twice_the_limit_between_two_and_eight(milli_cpu: int, expected: int) -> None:
    assert boosted(milli_cpu) == expected


async def freeze(stage: Stage, name: str) -> None:
    """Let the instance rest."""
    await asyncio.sleep(0.6)
    stage.fleet.answered(name, 1, released=True)
    assert stage.runtime.cpu.frozen == {name}


async def test_a_frozen_instance_is_not_probed_and_not_killed(stage: Stage) -> None:
    stage.probed(liveness_probe=Probe(kind="http", path="/alive", period=1, failure_threshold=1))
    name = await stage.begin()
    await freeze(stage, name)
    stage.failing.add("/alive")  # nothing answers while it has no CPU
    await asyncio.sleep(30)
    assert stage.states == [State.STARTING, State.READY]
    stage.fleet.wake(name)
    await asyncio.sleep(2)
    assert stage.states == [State.STARTING, State.READY, State.FAILED]


async def test_a_probe_that_was_under_way_at_the_freeze_counts_for_nothing(stage: Stage) -> None:
    stage.probed(liveness_probe=Probe(kind="http", path="/slow", period=1, failure_threshold=1))
    stage.slow = 0.5
    name = await stage.begin()
    stage.failing.add("/slow")
    await asyncio.sleep(0.1)
    sleeper = stage.fleet._lives[name].sleeper
    assert sleeper
    sleeper.rest.idle_since -= 10**9
    sleeper.loaded(0, 0)
    await asyncio.sleep(0.01)
    stage.fleet.answered(name, 1, released=True)
    assert stage.runtime.cpu.frozen == {name}
    await asyncio.sleep(5)
    assert stage.states[-1] is State.READY


async def test_a_frozen_instance_is_stopped_as_any_other(stage: Stage) -> None:
    name = await stage.begin()
    await freeze(stage, name)
    stage.fleet.drain(name, "calm")
    stage.fleet.drained(name)
    await asyncio.sleep(1)
    assert stage.states[-1] is State.STOPPED
    assert stage.runtime.killed == []


async def test_a_suspect_is_thawed_before_it_is_looked_at(stage: Stage) -> None:
    name = await stage.begin()
    await freeze(stage, name)
    stage.fleet.suspect(name, "refused")
    await asyncio.sleep(0.1)
    assert not stage.runtime.cpu.frozen
    assert stage.states[-1] is State.READY


async def test_an_instance_with_its_cpu_always_is_never_frozen(stage: Stage) -> None:
    limits = msgspec.structs.replace(LONG, cpu_throttling=False)
    stage.revision = msgspec.structs.replace(
        stage.revision,
        template=msgspec.structs.replace(stage.revision.template, limits=limits),
    )
    name = await stage.begin()
    await asyncio.sleep(10)
    stage.fleet.answered(name, 1, released=True)
    assert stage.runtime.cpu.freezes == 0
