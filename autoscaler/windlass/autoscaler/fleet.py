"""All instances that live: starts, drains and stops them, and hands each event to its instance.

Decides nothing; what comes of it is told through the callbacks it is given.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from windlass.autoscaler.life import Life, Surroundings
from windlass.autoscaler.rest import to_wake
from windlass.model.instance import ENDED, Exit, Instance, State
from windlass.runtime.base import RuntimeFault

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from windlass.model.service import Revision
    from windlass.runtime.base import Ended, Running

log = structlog.get_logger(__name__)

TOLD_EVERY = 5.0  # seconds between two words on what a stop of all waits for
SLOWER_THAN_GRACE = 5.0  # seconds after its grace in which a runtime that works ends an instance
CANCELLED_WITHIN = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier platform knew of an instance; moments in ns, None: not yet."""

    started: int
    ready: int | None = None
    stopping: int | None = None  # SIGTERM was sent


class Fleet:
    """The instances by id, each with the task that lives its life."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._lives: dict[str, Life] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by instance, until nothing is left of it
        self._strays: dict[str, asyncio.Future[Exit]] = {}
        self._errands: set[asyncio.Task[None]] = set()

    def instances(self, revision: str) -> list[Instance]:
        """Return a revision's instances that have not ended, oldest first."""
        return [life.instance for life in self._of(revision)]

    def in_flight(self, revision: str) -> dict[str, int]:
        """Return what is known to be in flight, by instance."""
        return {life.instance.id: life.in_flight for life in self._of(revision)}

    def begin(self, revision: Revision, reason: str) -> None:
        """Start an instance."""
        name = f"{revision.name}-{secrets.token_hex(3)[:5]}"
        while name in self._tasks:
            name = f"{revision.name}-{secrets.token_hex(3)[:5]}"
        instance = Instance(
            id=name,
            revision=revision.name,
            service=revision.service,
            started=self._around.clock(),
            reason=reason,
        )
        self._live(Life(instance, revision, self._around))

    async def adopt(self, running: Running, revision: Revision | None, past: Past | None) -> None:
        """Take over an instance that runs and was ready, or is now; stop any other."""
        if revision and await self._is_of_use(running, revision, past):
            now = self._around.clock()
            instance = Instance(
                id=running.instance,
                revision=revision.name,
                service=revision.service,
                state=State.READY,
                address=running.address,
                started=past.started if past else now,
                ready=past.ready if past and past.ready is not None else now,
                reason="found running",
            )
            self._live(Life(instance, revision, self._around))
        else:
            self._strays[running.instance] = asyncio.get_running_loop().create_future()
            self._errand(self._end_stray(running.instance))

    async def _is_of_use(self, running: Running, revision: Revision, past: Past | None) -> bool:
        if past and past.stopping is not None:
            return False
        if past and past.ready is not None:
            return True  # routers serve requests there, and say so if it is deaf
        return await self._around.answers(revision.template.container, running.address)

    def drain(self, instance: str, reason: str) -> None:
        """Give a ready instance no new request; stop it when it has none."""
        self._lives[instance].drain(reason)

    def give_up(self, instance: str) -> None:
        """Stop an instance that is not ready yet."""
        self._lives[instance].give_up()

    def drained(self, instance: str) -> None:
        """Hear that nothing is in flight on a draining instance."""
        if life := self._lives.get(instance):
            life.drained()

    def loaded(self, instance: str, in_flight: int, last: int) -> None:
        """Hear how many requests are in flight on an instance, and when (ns) last one was."""
        if life := self._lives.get(instance):
            life.loaded(in_flight, last)

    def answered(self, instance: str, number: int, *, released: bool) -> None:
        """Hear from the routers whether an instance may be frozen in the round of its rests."""
        if (life := self._lives.get(instance)) and life.sleeper:
            life.sleeper.answered(number, released=released)

    def wake(self, instance: str) -> None:
        """Hear that an instance gets a request."""
        if (life := self._lives.get(instance)) and life.sleeper:
            life.sleeper.wake()

    def wake_for(self, revision: Revision, queued: int) -> None:
        """Wake as many instances of a revision as requests that wait need."""
        rests = {
            life.instance.id: life.sleeper.rest for life in self._of(revision.name) if life.sleeper
        }
        for instance in to_wake(rests, queued, revision.template.slots):
            self.wake(instance)

    def wake_all(self) -> None:
        """Wake every instance."""
        for instance in list(self._lives):
            self.wake(instance)

    def ended(self, event: Ended) -> None:
        """Hear from the runtime that an instance's process is gone."""
        if life := self._lives.get(event.instance):
            life.exited(event.exit)
        elif (stray := self._strays.get(event.instance)) and not stray.done():
            stray.set_result(event.exit)

    def suspect(self, instance: str, reason: str) -> None:
        """Hear that an instance cannot be reached: see for ourselves."""
        if life := self._lives.get(instance):
            self._errand(life.examine(reason))

    async def finished(self, revision: str) -> None:
        """Wait until nothing is left of a revision's instances."""
        lives = [life for life in self._lives.values() if life.revision.name == revision]
        await asyncio.gather(*(self._tasks[life.instance.id] for life in lives))

    async def stop(self, grace: float, reason: str) -> None:
        """Drain all for at most `grace` seconds, stop them, and wait until nothing is left.

        Where none ends for longer than the runtime could need, it is left as it is, and said.
        """
        for life in list(self._lives.values()):
            life.drain(reason)
            life.give_up()
            asyncio.get_running_loop().call_later(grace, life.drained)
        patience = grace + self._around.stop_grace + SLOWER_THAN_GRACE
        left, quiet = {*self._tasks.values(), *self._errands}, 0.0
        while left:
            done, left = await asyncio.wait(left, timeout=TOLD_EVERY)
            quiet = 0.0 if done else quiet + TOLD_EVERY
            if left and quiet >= patience:
                await self._abandon(left)
                return
            if left:
                names = self._left()
                log.info("waiting for instances to end", count=len(names), instances=names)

    async def _abandon(self, left: set[asyncio.Task[None]]) -> None:
        """Wait no longer; their moments in the ledger stay open for the next platform."""
        names = self._left()
        log.error(
            "instances are left behind: the runtime does not end them. They may live on until the "
            "next `windlass up` with this --state, which ends them",
            runtime=self._around.runtime.name,
            count=len(names),
            instances=names,
        )
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CANCELLED_WITHIN)

    def _left(self) -> list[str]:
        return sorted({*self._tasks, *self._strays})

    def _of(self, revision: str) -> list[Life]:
        return [
            life
            for life in self._lives.values()
            if life.revision.name == revision and life.instance.state not in ENDED
        ]

    def _live(self, life: Life) -> None:
        name = life.instance.id
        self._lives[name] = life
        task = self._tasks[name] = asyncio.create_task(life.run(), name=f"life of {name}")
        task.add_done_callback(lambda _: self._forget(name))
        self._around.tell(life.instance)

    def _forget(self, name: str) -> None:
        del self._lives[name], self._tasks[name]

    def _errand(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _end_stray(self, name: str) -> None:
        """Stop what an earlier platform left and this one has no use for; nobody is told."""
        log.info("stopping what is not ours", instance=name)
        runtime, ended = self._around.runtime, self._strays[name]
        try:
            await runtime.signal_stop(name)
            await asyncio.wait({ended}, timeout=self._around.stop_grace)
            if not ended.done():
                await runtime.kill(name)
                await asyncio.wait({ended}, timeout=self._around.stop_grace)
            await runtime.remove(name)
        except RuntimeFault as fault:
            log.warning("runtime fault", instance=name, fault=str(fault))
        del self._strays[name]
