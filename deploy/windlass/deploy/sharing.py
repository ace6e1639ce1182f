"""Has workers told what the leases say, and the autoscaler when no lease is left to be had."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from windlass.deploy.leases import Grant, Lack, Leases, Level, Recall, Refuse
from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from windlass.deploy.leases import Instruction

# Seconds for workers to say what they have free. They do so between two requests; one that is stuck
# must not keep instances from being started.
PATIENCE = 0.2


class Sharing:
    """The leases of all instances, and the links over which they are said."""

    def __init__(
        self,
        tell: Callable[[str, link.ToWorker], None],
        lacking: Callable[[str, Level], None],
        most: Callable[[str], int | None],
    ) -> None:
        """Begin with no instance.

        Args:
            tell: sends a message to a worker.
            lacking: hears of a revision whose requests wait while no slot is free, and its level.
            most: returns how many requests of a revision may be under way or wait, None: any
                number, for each worker limits its queue.
        """
        self._leases = Leases()
        self._tell = tell
        self._lacking = lacking
        self._most = most
        self._patience: dict[str, asyncio.TimerHandle] = {}  # revisions whose workers are asked

    def expect(self, workers: Iterable[str]) -> None:
        """Grant nothing before these workers of an earlier node have spoken or are gone."""
        self._leases.expect(workers)

    def serve(self, instance: str, revision: str, slots: int) -> None:
        """Lease an instance's slots."""
        self._perform(self._leases.serve(instance, revision, slots))

    def withhold(self, instance: str) -> None:
        """Lease no more of an instance's slots."""
        self._leases.withhold(instance)

    def remove(self, instance: str) -> None:
        """Forget an instance."""
        self._leases.remove(instance)

    def forget(self, revision: str) -> None:
        """Forget a revision that is no more."""
        if timer := self._patience.pop(revision, None):
            timer.cancel()
        self._leases.forget(revision)

    def linked(self, worker: str, slots: Mapping[str, int], aside: Collection[str]) -> None:
        """A worker has said what it has on lease and has set aside, and can be told."""
        self._perform(self._leases.join(worker, slots, aside))

    def set_aside(self, worker: str, message: link.InstanceAside) -> None:
        """A worker gives an instance no request for a while, or does again."""
        instructions = self._leases.set_aside(worker, message.instance, aside=message.aside)
        self._perform(instructions)

    def unlinked(self, worker: str) -> None:
        """A worker cannot be told anything."""
        self._perform(self._leases.unlink(worker))

    def retire(self, worker: str) -> None:
        """A worker is to end."""
        self._perform(self._leases.retire(worker))

    def gone(self, worker: str) -> None:
        """A worker's process has ended."""
        self._perform(self._leases.leave(worker))

    def starved(self, worker: str, message: link.Starved) -> None:
        """Requests wait at a worker."""
        level = Level(message.in_flight, message.queued)
        self._perform(self._leases.starved(worker, message.revision, level, message.granted))

    def returned(self, worker: str, message: link.Returned) -> None:
        """A worker has given slots back."""
        level = Level(message.in_flight, message.queued)
        self._perform(
            self._leases.returned(
                worker,
                message.revision,
                message.slots,
                level,
                message.granted,
                answer=message.answer,
            )
        )
        if message.revision in self._patience and not self._leases.is_asking(message.revision):
            self._patience.pop(message.revision).cancel()

    def reported(self, worker: str, revision: str, level: Level) -> Level:
        """Take a worker's report; return the level of all."""
        self._perform(self._leases.seen(worker, revision, level))
        return self._leases.level(revision)

    def level(self, revision: str) -> Level:
        """Return what is in flight and waits at all workers."""
        return self._leases.level(revision)

    def _perform(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Grant(worker, instance, slots):
                    self._tell(worker, link.Grant(instance, slots))
                case Recall(worker, revision, slots, ahead):
                    self._tell(worker, link.Recall(revision=revision, slots=slots, ahead=ahead))
                    self._await_answer(revision)
                case Refuse(worker, revision, requests):
                    self._tell(worker, link.Refuse(revision, requests))
                case Lack(revision):
                    self._lack(revision)

    def _await_answer(self, revision: str) -> None:
        if revision not in self._patience:
            loop = asyncio.get_running_loop()
            self._patience[revision] = loop.call_later(PATIENCE, self._wait_no_more, revision)

    def _wait_no_more(self, revision: str) -> None:
        del self._patience[revision]
        self._perform(self._leases.wait_no_more(revision))

    def _lack(self, revision: str) -> None:
        level, most = self._leases.level(revision), self._most(revision)
        surplus = 0 if most is None else level.in_flight + level.queued - most
        if surplus > 0:
            self._perform(self._leases.refuse(revision, surplus))
            level = self._leases.level(revision)
        self._lacking(revision, level)
