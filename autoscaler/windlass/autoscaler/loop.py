"""Observe, decide, perform: the only file of the autoscaler with a clock.

Every event pokes its revision's decision at once; a tick of two seconds does what time alone
brings about. What is decided, which instance it meets and how it is done is elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from windlass.autoscaler import probe
from windlass.autoscaler.decide import Observation, decide, taking_over
from windlass.autoscaler.fleet import Fleet, Past
from windlass.autoscaler.life import Surroundings
from windlass.autoscaler.reconcile import (
    SOUND_AFTER,
    Backoff,
    DrainInstance,
    Instruction,
    StartInstance,
    StopInstance,
    after_failure,
    reconcile,
)
from windlass.autoscaler.scaled import Explained, Scaled
from windlass.autoscaler.standbys import Standbys
from windlass.autoscaler.window import SECOND
from windlass.model.instance import Instance, State
from windlass.runtime.base import RuntimeUnavailable, StartFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from windlass.autoscaler.audience import Audience
    from windlass.model.instance import Address
    from windlass.model.service import Container, Probe, Revision
    from windlass.runtime.base import Runtime, Waiting

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The autoscaler's own numbers; those of a revision are in its template."""

    tick: float = 2.0  # seconds between decisions without an event, as Knative
    stop_grace: float = 10.0  # seconds from SIGTERM to SIGKILL
    decisions_kept: int = 100  # per revision, for `explain`
    rest_after: float = 0.5  # seconds without a request after which an instance is frozen


class Autoscaler:
    """Keeps each revision at the number of instances that its traffic needs."""

    def __init__(
        self,
        runtime: Runtime,
        audience: Audience,
        settings: Settings,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        answers: Callable[[Container, Address], Awaitable[bool]] = probe.answers,
        passes: Callable[[Probe, Container, Address], Awaitable[bool]] = probe.passes,
    ) -> None:
        self._runtime = runtime
        self._audience = audience
        self._settings = settings
        self._clock = clock
        self._scaled: dict[str, Scaled] = {}
        self._short: dict[str, None] = {}  # revisions that wait for a start, next one first
        self._starts = 0  # instances that start, until ready or BOOT_COUNTED
        self._held = False  # nothing is decided: while adopting, and once stopping
        self._watching = False
        self._fleet = Fleet(
            Surroundings(
                runtime=runtime,
                clock=clock,
                stop_grace=settings.stop_grace,
                answers=answers,
                passes=passes,
                tell=self._changed,
                tell_line=audience.log_line,
                tell_withheld=audience.instance_withheld,
                start_done=self._start_done,
                routers=audience,
                rest_after=settings.rest_after,
            )
        )
        self._standbys = Standbys(runtime.standby, clock)

    async def run(self) -> None:
        """Scale until cancelled."""
        async with self._watched():
            while True:
                for name in list(self._scaled):
                    self._poke(name)
                self._keep_ahead()
                await asyncio.sleep(self._settings.tick)

    def add(self, revision: Revision) -> None:
        """Scale a revision from now on, and begin with its minimum."""
        self._scaled[revision.name] = Scaled(revision, self._settings.decisions_kept)
        self._take_over(revision.name)
        self._poke(revision.name)

    async def check(self, revision: str) -> None:
        """Return when an instance of the revision is ready, starting one if none is.

        Raises:
            StartFailed: it does not come up; the detail has its last log lines.
        """
        scaled = self._scaled[revision]
        if any(i.state is State.READY for i in self._fleet.instances(revision)):
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        scaled.checks.append(waiting)
        scaled.backoff = Backoff()  # someone asked for it: now, not after a pause
        try:
            self._poke(revision)
            await waiting
        finally:
            scaled.checks.remove(waiting)
            self._poke(revision)

    def set_reachable(self, revision: str, reachable: bool) -> None:
        """Say whether traffic or a tag leads to the revision; without, it goes to zero."""
        if scaled := self._scaled.get(revision):
            scaled.reachable = reachable
            self._poke(revision)

    def refuse_instances(self, revision: str, reason: str) -> None:
        """Let the revision have no instance, for this reason; with an empty one, let it again."""
        scaled = self._scaled.get(revision)
        if scaled is not None and scaled.refused != reason:
            scaled.refused = reason
            self._poke(revision)

    async def remove(self, revision: str) -> None:
        """Drain and stop all instances of a revision, and forget it."""
        if scaled := self._scaled.pop(revision, None):
            self._short.pop(revision, None)
            for waiting in scaled.checks:
                _fail(waiting, StartFailed(f"{revision} was removed"))
            instances, in_flight = self._fleet.instances(revision), self._fleet.in_flight(revision)
            self._perform(
                scaled,
                reconcile(0, "the revision is removed", instances, in_flight, 0, removed=True),
            )
            await self._fleet.finished(revision)
        await self._standbys.drop(revision)

    def starved(self, revision: str, queued: int, in_flight: int) -> None:
        """Hear from the router that requests wait and no slot is free."""
        if scaled := self._scaled.get(revision):
            scaled.starve(self._clock(), queued, in_flight)
            self._fleet.wake_for(scaled.revision, queued)
            self._poke(revision)

    def seen(
        self, revision: str, begin: int, end: int, in_flight: int, queued: int, demand: int
    ) -> None:
        """Hear a report: moments in ns, `demand` in request-nanoseconds over [begin, end)."""
        if scaled := self._scaled.get(revision):
            scaled.report(begin, end, in_flight, queued, demand)
            self._poke(revision)

    def loaded(self, instance: str, in_flight: int, last: int) -> None:
        """Hear what is in flight on an instance, and when (ns) last something was.

        The idle ones are frozen, and drained first.
        """
        self._fleet.loaded(instance, in_flight, last)

    def rested(self, instance: str, number: int, *, released: bool) -> None:
        """Hear from the routers whether they let an instance be frozen."""
        self._fleet.answered(instance, number, released=released)

    def woken(self, instance: str) -> None:
        """Hear that a router has thawed an instance for a request."""
        self._fleet.wake(instance)

    def wake_all(self) -> None:
        """Let no instance rest: a router came or went that may not know of it."""
        self._fleet.wake_all()

    def standing_by(self, revision: str) -> list[Waiting]:
        """Return the containers that were made ahead for a revision."""
        return self._standbys.waiting(revision)

    def drained(self, instance: str) -> None:
        """Hear that nothing is in flight on a draining instance."""
        self._fleet.drained(instance)

    def unreachable(self, instance: str, failures: int, reason: str) -> None:
        """Hear that an instance does not take connections."""
        self._fleet.suspect(instance, f"{failures} connections in a row failed: {reason}")

    def instances(self, revision: str) -> list[Instance]:
        """Return the instances of a revision that have not ended, oldest first."""
        return self._fleet.instances(revision)

    def average_start(self, revision: str) -> float | None:
        """Return the mean seconds from start to ready of the latest instances, None: unknown."""
        scaled = self._scaled.get(revision)
        return scaled.average_start if scaled else None

    def explain(self, revision: str) -> list[Explained]:
        """Return the latest decisions that changed something, oldest first."""
        scaled = self._scaled.get(revision)
        return list(scaled.explained) if scaled else []

    def hold(self) -> None:
        """Decide nothing until `adopt` has found what runs already."""
        self._held = True

    async def adopt(self, revisions: Mapping[str, Revision], known: Mapping[str, Past]) -> None:
        """Take over what an earlier platform left running; stop what is of no use.

        Args:
            revisions: those that may have instances.
            known: what the earlier platform knew, by instance.

        Raises:
            RuntimeUnavailable: the engine does not answer.
        """
        self.hold()  # none is missing and none is surplus before all are known
        try:
            found = await self._runtime.adopt()
            await asyncio.gather(
                *(
                    self._fleet.adopt(each, revisions.get(each.revision), known.get(each.instance))
                    for each in found
                )
            )
        finally:
            self._held = False
        for name in self._scaled:
            self._take_over(name)
            self._poke(name)

    async def stop(self, grace: float) -> None:
        """Drain for at most `grace` seconds, and stop everything."""
        self._held = True
        for scaled in self._scaled.values():
            for waiting in scaled.checks:
                _fail(waiting, StartFailed("the platform stops"))
        async with self._watched():
            await self._fleet.stop(grace, "the platform stops")
        await self._standbys.settle()

    def _poke(self, name: str) -> None:
        """Decide for a revision, and do it."""
        scaled = self._scaled.get(name)
        if scaled is None or self._held:
            return
        seen = scaled.observe(self._clock(), self._fleet.instances(name))
        decision = decide(scaled.revision.template, seen, scaled.memory)
        scaled.memory = decision.memory
        paused = seen.now < scaled.backoff.retry_at
        instructions = reconcile(
            decision.desired,
            decision.reason,
            self._fleet.instances(name),
            self._fleet.in_flight(name),
            0 if paused else self._runtime.parallel_starts - self._starts,
        )
        if scaled.explain(seen, decision, acted=bool(instructions)):
            self._audience.decided(name, decision, seen.now)
        self._perform(scaled, instructions)
        self._line_up(name, short=not paused and decision.desired > self._capacity(name))
        if paused and seen.queued and not self._capacity(name):
            self._refuse(scaled, seen)

    def _keep_ahead(self) -> None:
        """Make up for what starts took of what was made ahead; only now, not beside a request."""
        if not self._held:
            for scaled in self._scaled.values():
                wanted = scaled.revision.template.scaling.standby if scaled.reachable else 0
                self._standbys.keep(scaled.revision, wanted, starting=self._starts > 0)

    def _line_up(self, name: str, *, short: bool) -> None:
        """Keep a revision's place in the line for starts, or take it out."""
        if short:
            self._short.setdefault(name)
        else:
            self._short.pop(name, None)

    def _perform(self, scaled: Scaled, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case StartInstance(why):
                    self._starts += 1
                    # To the line's end, if it wants another.
                    self._short.pop(scaled.revision.name, None)
                    self._fleet.begin(scaled.revision, why)
                case DrainInstance(instance, why):
                    self._fleet.drain(instance, why)
                case StopInstance(instance):
                    self._fleet.give_up(instance)

    def _refuse(self, scaled: Scaled, seen: Observation) -> None:
        """Let nobody wait for an instance that will not be started for a while."""
        backoff = scaled.backoff
        self._answer(
            scaled,
            f"{backoff.failures} starts in a row failed, the next one is in "
            f"{backoff.retry_at - seen.now:.0f} s: {backoff.reason}",
        )

    def _answer(self, scaled: Scaled, reason: str) -> None:
        self._audience.start_failed(scaled.revision.name, reason)
        scaled.dismiss(self._clock())

    def _start_done(self) -> None:
        self._starts -= 1
        for name in list(self._short):
            self._poke(name)

    def _changed(self, instance: Instance) -> None:
        """Tell an instance's new state, and draw the conclusions."""
        self._audience.instance_changed(instance)
        scaled = self._scaled.get(instance.revision)
        if scaled is None:
            return
        match instance.state:
            case State.READY:
                scaled.became_ready(instance)
                for waiting in scaled.checks:
                    if not waiting.done():
                        waiting.set_result(None)
            case State.FAILED:
                self._failed(scaled, instance)
            case State.STOPPED:
                pass
            case _:
                return
        self._poke(instance.revision)

    def _failed(self, scaled: Scaled, instance: Instance) -> None:
        name, ended = instance.revision, instance.ended or self._clock()
        if instance.ready is None or ended - instance.ready < SOUND_AFTER * SECOND:
            now = self._clock() / SECOND
            begun = instance.started / SECOND
            scaled.backoff = after_failure(
                scaled.backoff, begun, now, instance.reason, was_ready=instance.ready is not None
            )
            pause = scaled.backoff.retry_at - now + 0.002  # uvloop's timers may be 1 ms early
            asyncio.get_running_loop().call_later(pause, self._poke, name)
        if instance.ready is None and not self._capacity(name):
            self._answer(scaled, instance.reason)
            for waiting in scaled.checks:
                _fail(waiting, StartFailed(f"{name} does not come up", instance.reason))

    def _capacity(self, name: str) -> int:
        states = (State.STARTING, State.READY)
        return sum(i.state in states for i in self._fleet.instances(name))

    def _take_over(self, name: str) -> None:
        if instances := self._fleet.instances(name):
            now = self._clock() / SECOND
            self._scaled[name].memory = taking_over(len(instances), now)

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Hear from the runtime how instances end; once, however many ask for it."""
        if self._watching:
            yield
            return
        self._watching = True
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._watching = False
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                async for event in self._runtime.ended():
                    self._fleet.ended(event)
            except RuntimeUnavailable as fault:
                log.warning("runtime unavailable", fault=str(fault))
            await asyncio.sleep(self._settings.tick)


def _fail(waiting: asyncio.Future[None], fault: StartFailed) -> None:
    if not waiting.done():
        waiting.set_exception(fault)
