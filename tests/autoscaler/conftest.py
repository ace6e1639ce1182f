"""Virtual time: a loop that jumps to its next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from windlass.autoscaler.loop import Autoscaler, Settings
from windlass.autoscaler.window import SECOND
from windlass.model.instance import ENDED, Instance, State
from windlass.model.service import Container, Limits, Mode, Revision, Scaling, Template
from windlass.runtime.fake import Behaviour, FakeRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windlass.autoscaler.decide import Decision, Kind
    from windlass.runtime.base import LogLine, Start, Thaw


class VirtualSelector(selectors.SelectSelector):
    """Never waits: the time it was to wait has passed at once."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that never happens")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = VirtualSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Only the tests of real sockets take real time."""
    if item.path.stem == "test_probe":
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}


def nanoseconds() -> int:
    return round(asyncio.get_running_loop().time() * SECOND)


class Recorder:
    """An audience that remembers."""

    def __init__(self) -> None:
        self.changes: list[Instance] = []
        self.rests: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self.decisions: list[Decision] = []
        self.lines: dict[str, list[str]] = defaultdict(list)

    def instance_changed(self, instance: Instance) -> None:
        self.changes.append(instance)

    def instance_withheld(self, instance: Instance, reason: str) -> None:
        raise AssertionError("no test of the loop has a readiness probe")

    def instance_to_rest(self, instance: str, number: int, thaw: Thaw) -> None:
        self.rests.append(f"{instance} may rest, round {number}")

    def instance_frozen(self, instance: str) -> None:
        self.rests.append(f"{instance} is frozen")

    def instance_awake(self, instance: str) -> None:
        self.rests.append(f"{instance} is awake")

    def start_failed(self, revision: str, reason: str) -> None:
        self.failed.append((revision, reason))

    def decided(self, revision: str, decision: Decision, now: float) -> None:
        self.decisions.append(decision)

    def log_line(self, instance: str, line: LogLine) -> None:
        self.lines[instance].append(line.text)

    def states(self, instance: str) -> list[State]:
        return [each.state for each in self.changes if each.id == instance]

    @property
    def ended(self) -> list[Instance]:
        return [each for each in self.changes if each.state in ENDED]

    @property
    def kinds(self) -> list[Kind]:
        return [each.kind for each in self.decisions]


class World:
    """An autoscaler on a fake runtime, and what a router would tell it."""

    def __init__(self) -> None:
        self.behaviour = Behaviour(start_delay=0.5, listen_delay=0.1)
        self.runtime = FakeRuntime(lambda request: self.behave(request))
        self.audience = Recorder()
        self.clock = nanoseconds
        self.autoscaler = Autoscaler(
            self.runtime,
            self.audience,
            Settings(),
            clock=nanoseconds,
            answers=self.runtime.answers,
        )

    def behave(self, request: Start) -> Behaviour:
        return self.behaviour

    def add(
        self,
        name: str = "hello-00001",
        *,
        mode: Mode = Mode.CLOUDRUN,
        limits: Limits | None = None,
        **scaling: float,
    ) -> None:
        self.autoscaler.add(self.revision(name, mode=mode, limits=limits, **scaling))

    def revision(
        self,
        name: str = "hello-00001",
        *,
        mode: Mode = Mode.CLOUDRUN,
        limits: Limits | None = None,
        **scaling: float,
    ) -> Revision:
        return Revision(
            name=name,
            service=name.rpartition("-")[0],
            number=1,
            created=0,
            template=Template(
                container=Container(image="hello"),
                limits=limits or Limits(),
                scaling=Scaling(**scaling),  # type: ignore[arg-type]  # ints among the floats
                mode=mode,
            ),
        )

    async def hold(self, seconds: int, in_flight: int, name: str = "hello-00001") -> None:
        """Report a level each second, and the idle end of draining instances."""
        for _ in range(seconds):
            begin = nanoseconds()
            await asyncio.sleep(1)
            self.autoscaler.seen(
                name, begin, nanoseconds(), in_flight, 0, in_flight * (nanoseconds() - begin)
            )
            for instance in self.autoscaler.instances(name):
                if instance.state is State.DRAINING:
                    self.autoscaler.drained(instance.id)

    def count(self, state: State, name: str = "hello-00001") -> int:
        return sum(each.state is state for each in self.autoscaler.instances(name))


@pytest.fixture
async def world() -> World:
    return World()
