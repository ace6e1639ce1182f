"""A runtime in memory: instances that only say they run, for tests and simulations.

How an instance behaves is said before it starts; nothing listens anywhere, so whoever probes asks
`answers` instead of the network.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windlass.model.instance import Address, Exit
from windlass.runtime.base import (
    Ended,
    LogLine,
    Running,
    RuntimeUnavailable,
    StartFailed,
    Thaw,
    Waiting,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from windlass.model.service import Container
    from windlass.runtime.base import Start

KILLED = Exit(signal=9)
TERMINATED = Exit(signal=15)
CRASHED = Exit(code=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an instance does; seconds throughout."""

    start_delay: float = 0.0  # until start() returns
    start_fault: str = ""  # start() raises StartFailed with this detail
    listen_delay: float = 0.0  # from then until its port answers
    listens: bool = True
    exit_after: float | None = None  # ends by itself so long after its start
    exit: Exit = CRASHED  # how it then ends
    lines: tuple[str, ...] = ()  # what it prints at its start
    stop_delay: float | None = 0.0  # from SIGTERM to its end; None: it ignores SIGTERM


@dataclass(eq=False)
class _Process:
    """An instance that runs or has ended."""

    running: Running
    behaviour: Behaviour
    listening_at: float
    lines: deque[LogLine] = field(default_factory=deque)
    written: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit | None = None


class FakeCpu:
    """Meets runtime.base.CpuControl: remembers who is frozen, and the limits that were set."""

    def __init__(self) -> None:
        self.frozen: set[str] = set()
        self.freezes = 0
        self.limits: dict[str, int] = {}

    def freeze(self, instance: str) -> None:
        """Take the CPU from an instance."""
        self.frozen.add(instance)
        self.freezes += 1

    def thaw(self, instance: str) -> None:
        """Give it back."""
        self.frozen.discard(instance)

    def thawing(self, instance: str) -> Thaw:
        """Return what would thaw it, if it were there."""
        return Thaw(f"/nowhere/{instance}", "THAWED")

    def limit(self, instance: str, milli_cpu: int) -> None:
        """Note a limit."""
        self.limits[instance] = milli_cpu


class FakeStandby:
    """Meets runtime.base.Standby: counts what stands by; a start of the revision takes one."""

    def __init__(self) -> None:
        self.standing: dict[str, int] = {}
        self.made = 0
        self.fault = ""  # why none can be made

    async def keep(self, request: Start, count: int) -> None:
        """Have `count`.

        Raises:
            StartFailed: it was told to.
        """
        if self.fault:
            raise StartFailed("the fake runtime was told to fail", self.fault)
        self.made += max(0, count - self.standing.get(request.revision, 0))
        self.standing[request.revision] = count

    async def drop(self, revision: str) -> None:
        """Have none."""
        self.standing.pop(revision, None)

    def waiting(self, revision: str) -> list[Waiting]:
        """Return those of a revision."""
        return [Waiting(f"standby-{n}", 0.0) for n in range(self.standing.get(revision, 0))]

    def take(self, revision: str) -> None:
        """Start one, if there is one."""
        self.standing[revision] = max(0, self.standing.get(revision, 0) - 1)


class FakeRuntime:
    """Meets runtime.base.Runtime. `behave` is asked before each start."""

    name = "fake"

    def __init__(
        self,
        behave: Callable[[Start], Behaviour] | None = None,
        *,
        parallel_starts: int = 4,
    ) -> None:
        self.behave = behave or (lambda request: Behaviour())
        self.parallel_starts = parallel_starts
        self.cpu = FakeCpu()
        self.standby = FakeStandby()
        self.available = True  # False: every call raises RuntimeUnavailable
        self.starts: list[Start] = []  # every start ever asked for
        self.digests: dict[str, str] = {}  # image name -> what it means now
        self.retained: list[str] = []
        self.starting = 0  # start() calls under way
        self.most_starting = 0
        self.signalled: list[str] = []  # instances that got SIGTERM, in order
        self.killed: list[str] = []  # those that got SIGKILL
        self._ports = 0
        self._processes: dict[str, _Process] = {}
        self._ended: asyncio.Queue[Ended] = asyncio.Queue()

    async def open(self) -> None:
        """Check that the engine is available."""
        self._check()

    async def close(self) -> None:
        """Leave all as it is."""

    async def retain(self, images: Iterable[str]) -> None:
        """Note what may still be started."""
        self.retained = list(images)

    async def prepare(self, container: Container) -> str:
        """Every image is here; its digest is what `digests` says."""
        self._check()
        return self.digests.get(container.image, "")

    async def start(self, request: Start) -> Running:
        """Start an instance as `behave` says.

        Raises:
            StartFailed: it is told to fail.
        """
        self._check()
        behaviour = self.behave(request)
        self.standby.take(request.revision)
        self.starts.append(request)
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            await asyncio.sleep(behaviour.start_delay)
        finally:
            self.starting -= 1
        self._check()
        if behaviour.start_fault:
            raise StartFailed("the fake runtime was told to fail", behaviour.start_fault)
        return self._run(request, behaviour)

    def _run(self, request: Start, behaviour: Behaviour) -> Running:
        self._ports += 1
        address = Address("fake", self._ports)
        running = Running(request.instance, request.revision, request.service, address)
        loop = asyncio.get_running_loop()
        process = _Process(running, behaviour, loop.time() + behaviour.listen_delay)
        self._processes[request.instance] = process
        for line in behaviour.lines:
            self.write(request.instance, line)
        if behaviour.exit_after is not None:
            loop.call_later(behaviour.exit_after, self.end, request.instance, behaviour.exit)
        return running

    async def signal_stop(self, instance: str) -> None:
        """End the instance after its stop_delay, unless it ignores SIGTERM."""
        self._check()
        self.signalled.append(instance)
        process = self._processes.get(instance)
        if process and process.behaviour.stop_delay is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(process.behaviour.stop_delay, self.end, instance, TERMINATED)

    async def kill(self, instance: str) -> None:
        """End the instance now."""
        self._check()
        self.killed.append(instance)
        self.end(instance, KILLED)

    async def remove(self, instance: str) -> None:
        """Forget an ended instance."""
        self._check()
        process = self._processes.get(instance)
        if process and process.exit:
            del self._processes[instance]

    async def ended(self) -> AsyncIterator[Ended]:
        """Yield each end of an instance."""
        while True:
            yield await self._ended.get()

    async def adopt(self) -> list[Running]:
        """Return the instances that run."""
        self._check()
        return self.alive

    async def logs(self, instance: str) -> AsyncIterator[LogLine]:
        """Yield what `write` wrote, until the instance ends."""
        process = self._processes[instance]
        while True:
            while process.lines:
                yield process.lines.popleft()
            if process.exit:
                return
            process.written.clear()
            await process.written.wait()

    # What tests and simulations do to instances.

    @property
    def alive(self) -> list[Running]:
        """The instances that run, oldest first."""
        return [p.running for p in self._processes.values() if not p.exit]

    @property
    def known(self) -> list[str]:
        """The instances that are not removed."""
        return list(self._processes)

    def write(self, instance: str, text: str) -> None:
        """Let an instance print a line."""
        process = self._processes[instance]
        process.lines.append(LogLine(time.time(), "stdout", text))
        process.written.set()

    def end(self, instance: str, how: Exit) -> None:
        """End an instance that runs; no fault if it does not."""
        process = self._processes.get(instance)
        if process and not process.exit:
            process.exit = how
            process.written.set()
            self._ended.put_nowait(Ended(instance, how))

    def deafen(self, instance: str) -> None:
        """Let an instance's port answer no more."""
        self._processes[instance].listening_at = float("inf")

    async def answers(self, container: Container, address: Address) -> bool:
        """Probe an instance: does its port answer now?"""
        now = asyncio.get_running_loop().time()
        return any(
            p.running.address == address and p.behaviour.listens and now >= p.listening_at
            for p in self._processes.values()
            if not p.exit
        )

    def _check(self) -> None:
        if not self.available:
            raise RuntimeUnavailable("the fake runtime was told to be away")
