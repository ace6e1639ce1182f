"""The life of one instance, from its start to its end: performs what was decided elsewhere.

Its states change only here, through the table of `model.instance`, and each change is told before
the next step is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from windlass.autoscaler import health
from windlass.autoscaler.sleeper import Sleeper
from windlass.model.instance import ENDED, Exit, Instance, State, moved
from windlass.model.service import MIB
from windlass.runtime.base import RuntimeFault, Start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from windlass.autoscaler.sleeper import Routers
    from windlass.model.instance import Address
    from windlass.model.service import Container, Limits, Probe, Revision
    from windlass.runtime.base import LogLine, Runtime

log = structlog.get_logger(__name__)

LINES_KEPT = 20  # of an instance's output, for the reason of its failure
LAST_LINES_WAIT = 0.5  # seconds that an end waits for the rest of the output
PROBE_SHARE = 0.05  # pause between probes, as a part of the time that the instance has booted for
PROBE_PAUSES = (0.001, 0.1)  # seconds, the shortest and the longest
# Seconds of an instance's own start that count as work for this machine, so that the next one waits
# for it: many programs that start at once take the processors from those that serve already. Who
# takes longer waits for something else.
BOOT_COUNTED = 1.0
END_HEARD = 0.5  # seconds in which the runtime tells of an end that the router has seen already
KILL_WAIT = 10.0  # seconds until a SIGKILL is sent again
KILL_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every life needs."""

    runtime: Runtime
    clock: Callable[[], int]  # ns
    stop_grace: float  # seconds from SIGTERM to SIGKILL
    answers: Callable[[Container, Address], Awaitable[bool]]  # the startup probe, once
    passes: Callable[[Probe, Container, Address], Awaitable[bool]]  # any probe, once
    tell: Callable[[Instance], None]
    tell_line: Callable[[str, LogLine], None]
    tell_withheld: Callable[[Instance, str], None]  # why it gets no requests; empty: it does again
    start_done: Callable[[], None]  # another instance may be started
    routers: Routers
    rest_after: float  # seconds without a request after which an instance is frozen


class _Failure(Exception):
    """The instance does not come up, or ended by itself."""


class Life:
    """One instance; `run` takes it through its states, the other methods say what is to happen."""

    def __init__(self, instance: Instance, revision: Revision, around: Surroundings) -> None:
        loop = asyncio.get_running_loop()
        self.instance = instance
        self.revision = revision
        self.in_flight = 0  # as far as is known
        self.sleeper: Sleeper | None = None  # while it serves, if it is to be frozen when idle
        self._around = around
        self._tail: deque[str] = deque(maxlen=LINES_KEPT)
        self._pumping: asyncio.Task[None] | None = None
        self._stop: asyncio.Future[None] = loop.create_future()  # drain, or give up starting
        self._drained: asyncio.Future[None] = loop.create_future()
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._unhealthy: asyncio.Future[None] = loop.create_future()  # not alive, says its probe
        self._ended = 0  # ns
        self._deaf: int | None = None
        self._broken = ""  # why it is being killed while it serves

    # What is to happen, or has happened.

    def drain(self, reason: str) -> None:
        """Tell that a ready instance gets no new request, and stop it when it has none."""
        if self.instance.state is State.READY:
            if self.sleeper:
                self.sleeper.end()
            self._move(State.DRAINING, reason=reason)
            _settle(self._stop)

    def give_up(self) -> None:
        """Stop an instance that is not ready yet."""
        if self.instance.state is State.STARTING:
            _settle(self._stop)

    def drained(self) -> None:
        """Nothing is in flight on the draining instance, or nobody may wait for it any more."""
        if self.instance.state is State.DRAINING:
            _settle(self._drained)

    def loaded(self, in_flight: int, last: int) -> None:
        """So much is in flight, and last was at a moment (ns)."""
        self.in_flight = in_flight
        if self.sleeper:
            self.sleeper.loaded(in_flight, last)

    def exited(self, how: Exit) -> None:
        """Its main process is gone."""
        if not self._exit.done():
            self._ended = self._around.clock()
            self._exit.set_result(how)

    async def examine(self, reason: str) -> None:
        """Kill a ready instance that the router cannot reach, unless it answers a probe."""
        address = self.instance.address
        if self.instance.state is not State.READY or self._broken or address is None:
            return
        if self.sleeper:
            self.sleeper.wake()
        if await self._around.answers(self.revision.template.container, address):
            return
        if self.sleeper:
            self.sleeper.end()  # what is frozen cannot be killed
        await _first_of(self._exit, within=END_HEARD)
        if self._exit.done():
            return
        self._broken = f"no longer takes connections: {reason}"
        await self._attempt(self._around.runtime.kill(self.instance.id))

    # The states, in their order.

    async def run(self) -> None:
        """Live, from STARTING or (adopted) from READY, until nothing is left of it."""
        try:
            if self.instance.state is State.STARTING:
                await self._come_up()
            else:
                self._pumping = asyncio.create_task(self._pump())
            if self.instance.state is not State.STARTING:
                await self._serve()
                await self._drain()
            await self._end_as_asked()
        except _Failure as failure:
            await self._fail(str(failure))
        except Exception as fault:
            # A fault of the driver's or ours must not leave an instance that nobody looks after.
            log.exception("instance lost", instance=self.instance.id)
            if self.instance.state not in ENDED and self.instance.state is not State.STOPPING:
                await self._fail(f"fault in the platform: {fault!r}")
        await self._attempt(self._around.runtime.remove(self.instance.id))

    async def _come_up(self) -> None:
        """Start and become ready, and give the start's place free for another as soon as can be."""
        place_given: list[None] = []

        def give_place() -> None:
            if not place_given:
                place_given.append(None)
                self._around.start_done()

        timer: asyncio.TimerHandle | None = None
        try:
            await self._start()
            timer = asyncio.get_running_loop().call_later(BOOT_COUNTED, give_place)
            await self._become_ready()
        finally:
            if timer:
                timer.cancel()
            give_place()

    async def _start(self) -> None:
        template = self.revision.template
        request = Start(
            instance=self.instance.id,
            revision=self.revision.name,
            service=self.revision.service,
            container=template.container,
            limits=template.limits,
            image_digest=self.revision.image_digest,
            boost=boosted(template.limits.milli_cpu) if template.limits.cpu_boost else 0,
        )
        try:
            running = await self._around.runtime.start(request)
        except RuntimeFault as fault:
            self.exited(Exit(reason=str(fault)))  # nothing of it is left behind
            raise _Failure(str(fault)) from None
        self._pumping = asyncio.create_task(self._pump())
        self._address, self._launched = running.address, self._around.clock()

    async def _become_ready(self) -> None:
        container, budget = self.revision.template.container, self._startup_budget()
        probing = asyncio.create_task(self._probe())
        try:
            await _first_of(probing, self._exit, self._stop, within=budget)
            if self._exit.done():
                raise _Failure(
                    f"ended before it took requests on port {container.port}: {self._how_ended()}"
                )
            if self._stop.done():
                return
            if not probing.done():
                raise _Failure(health.never_ready(container, budget))
            probing.result()
        finally:
            probing.cancel()
        self._move(
            State.READY,
            address=self._address,
            launched=self._launched,
            deaf=self._deaf,
            ready=self._around.clock(),
        )

    async def _probe(self) -> None:
        container, shortest, longest = self.revision.template.container, *PROBE_PAUSES
        if container.startup_probe:
            await asyncio.sleep(container.startup_probe.initial_delay)
        while not await self._takes_requests(container):
            self._deaf = self._around.clock()
            booted = (self._deaf - self._launched) / 1e9
            await asyncio.sleep(min(max(booted * PROBE_SHARE, shortest), longest))

    async def _takes_requests(self, container: Container) -> bool:
        address, readiness = self._address, container.readiness_probe
        if not await self._around.answers(container, address):
            return False
        return readiness is None or await self._around.passes(readiness, container, address)

    def _startup_budget(self) -> float:
        probe, limits = (
            self.revision.template.container.startup_probe,
            self.revision.template.limits,
        )
        if probe is None:
            return limits.startup_timeout
        return min(
            probe.initial_delay + probe.period * probe.failure_threshold, limits.startup_timeout
        )

    async def _serve(self) -> None:
        limits, cpu = self.revision.template.limits, self._around.runtime.cpu
        if cpu:
            cpu.limit(self.instance.id, limits.milli_cpu)  # no more boost
        if cpu and limits.cpu_throttling:
            clock, delay = self._around.clock, self._around.rest_after
            self.sleeper = Sleeper(self.instance.id, cpu, self._around.routers, clock, delay)
        checks = [asyncio.create_task(check) for check in self._checks()]
        try:
            await _first_of(self._exit, self._stop, self._unhealthy)
        finally:
            for check in checks:
                check.cancel()
            if self.sleeper:
                self.sleeper.end()
        self._check_alive()
        liveness = self.revision.template.container.liveness_probe
        if self._unhealthy.done() and liveness:
            raise _Failure(health.failing("liveness", liveness))

    def _checks(self) -> Iterator[Coroutine[None, None, None]]:
        """Yield what watches over an instance that serves."""
        container = self.revision.template.container
        if probe := container.liveness_probe:
            yield health.watch(probe, self._attempt_of(probe), lambda _: _settle(self._unhealthy))
        if probe := container.readiness_probe:
            why = health.failing("readiness", probe)
            yield health.watch(
                probe,
                self._attempt_of(probe),
                lambda passing: self._withhold("" if passing else why),
            )

    def _withhold(self, why: str) -> None:
        if self.sleeper:
            self.sleeper.withhold(withheld=bool(why))
        self._around.tell_withheld(self.instance, why)

    def _attempt_of(self, probe: Probe) -> Callable[[], Awaitable[bool | None]]:
        container, address = self.revision.template.container, self.instance.address
        assert address  # whoever serves has one

        async def attempt() -> bool | None:
            sleeper = self.sleeper
            if sleeper and sleeper.frozen:
                return None
            before = sleeper.rest.freezes if sleeper else 0
            passed = await self._around.passes(probe, container, address)
            if not passed and sleeper and sleeper.rest.freezes != before:
                return None  # it may have failed only for having been frozen meanwhile
            return passed

        return attempt

    async def _drain(self) -> None:
        timeout = self.revision.template.limits.timeout
        await _first_of(self._exit, self._drained, within=timeout)
        self._check_alive()
        if not self._drained.done():
            log.warning("requests outlive draining", instance=self.instance.id, seconds=timeout)

    async def _end_as_asked(self) -> None:
        self._move(State.STOPPING, stopping=self._around.clock())
        await self._attempt(self._around.runtime.signal_stop(self.instance.id))
        await _first_of(self._exit, within=self._around.stop_grace)
        await self._kill()
        await self._finish_lines()
        self._move(State.STOPPED, ended=self._ended, exit=self._exit.result())

    async def _fail(self, reason: str) -> None:
        await self._kill()
        await self._finish_lines()
        if self._tail:
            reason = "\n".join((f"{reason}. Its last lines:", *self._tail))
        self._move(State.FAILED, ended=self._ended, exit=self._exit.result(), reason=reason)

    async def _kill(self) -> None:
        """Make sure that the process is gone."""
        for _ in range(KILL_ATTEMPTS):
            if self._exit.done():
                return
            await self._attempt(self._around.runtime.kill(self.instance.id))
            await _first_of(self._exit, within=KILL_WAIT)
        if not self._exit.done():
            log.error("no end reported after SIGKILL", instance=self.instance.id)
            self.exited(Exit(reason="the runtime reported no end after SIGKILL"))

    async def _pump(self) -> None:
        with contextlib.suppress(RuntimeFault):  # its end is told elsewhere
            async for line in self._around.runtime.logs(self.instance.id):
                self._tail.append(line.text)
                self._around.tell_line(self.instance.id, line)

    async def _finish_lines(self) -> None:
        """Wait for the rest of what an ended instance printed, but not for long."""
        if self._pumping:
            await _first_of(self._pumping, within=LAST_LINES_WAIT)
            self._pumping.cancel()

    async def _attempt(self, call: Awaitable[None]) -> None:
        """Await a runtime's call whose fault changes nothing in what is done next."""
        try:
            await call
        except RuntimeFault as fault:
            log.warning("runtime fault", instance=self.instance.id, fault=str(fault))

    def _check_alive(self) -> None:
        if self._exit.done():
            raise _Failure(self._broken or f"ended by itself: {self._how_ended()}")

    def _how_ended(self) -> str:
        return describe(self._exit.result(), self.revision.template.limits)

    def _move(self, state: State, **changes: object) -> None:
        self.instance = moved(self.instance, state, **changes)
        self._around.tell(self.instance)


def boosted(milli_cpu: int) -> int:
    """Return the CPU until an instance is ready: twice its limit, between 2 and 8 vCPUs."""
    return max(milli_cpu, min(max(2 * milli_cpu, 2000), 8000))


def describe(how: Exit, limits: Limits) -> str:
    """Say how an instance ended."""
    if how.out_of_memory:
        text = f"out of memory, over its limit of {limits.memory / MIB:g} MiB"
    elif how.signal is not None:
        text = f"signal {how.signal}"
        with contextlib.suppress(ValueError):
            text += f" ({signal.Signals(how.signal).name})"
    elif how.code is not None:
        text = f"exit code {how.code}"
    else:
        text = "nobody knows how"
    return f"{text} ({how.reason})" if how.reason else text


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _first_of(
    *futures: asyncio.Future[None] | asyncio.Future[Exit], within: float | None = None
) -> None:
    await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)
