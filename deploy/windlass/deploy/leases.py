"""How an instance's slots are shared among workers: each has some on lease, never more in all.

Values in, instructions out: told what workers say, it answers what they are to be told. No clock,
no socket. A slot counts as leased until its worker has given it back or is gone, whatever messages
are on their way: so no order of them lets an instance have more requests than it takes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class Level(NamedTuple):
    """Requests of one revision."""

    in_flight: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """Tell a worker that it has so many slots more."""

    worker: str
    instance: str
    slots: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask a worker for so many slots more; the first `ahead` before its own requests."""

    worker: str
    revision: str
    slots: int
    ahead: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell a worker to refuse so many of the requests that wait there."""

    worker: str
    revision: str
    requests: int


@dataclass(frozen=True, slots=True)
class Lack:
    """Requests of a revision wait, and no worker has a slot free: more instances are needed."""

    revision: str


Instruction = Grant | Recall | Refuse | Lack


@dataclass(slots=True)
class _Instance:
    revision: str = ""  # "": a worker has leases of it, and nobody has said yet that it serves
    slots: int = 0
    open: bool = False
    leased: Counter[str] = field(default_factory=Counter)  # by worker
    avoided: set[str] = field(default_factory=set)  # by workers to whom it fails


@dataclass(slots=True)
class _Revision:
    name: str
    slots: int = 0  # of open instances
    free: dict[str, int] = field(default_factory=dict)  # open instance -> slots nobody has
    leased: Counter[str] = field(default_factory=Counter)  # by worker, of open instances
    # By worker, the one first that has waited longest: requests for which it has no slot.
    wants: dict[str, int] = field(default_factory=dict)
    in_flight: Counter[str] = field(default_factory=Counter)
    granted: Counter[str] = field(default_factory=Counter)  # slots, since its hello
    owed: Counter[str] = field(default_factory=Counter)  # asked back and not given yet
    ahead: Counter[str] = field(default_factory=Counter)  # of these, before its own requests
    asked: Counter[str] = field(default_factory=Counter)  # recalls whose answer is to come
    instances: int = 0

    def want(self, worker: str, requests: int) -> None:
        if requests > 0:
            self.wants[worker] = requests
        else:
            self.wants.pop(worker, None)

    def forget(self, worker: str) -> None:
        """A worker's word does not count any more; what it has on lease does."""
        self.wants.pop(worker, None)
        for counter in (self.in_flight, self.granted, self.owed, self.ahead, self.asked):
            counter.pop(worker, None)


class Leases:
    """The leases of all instances that serve.

    Every method returns what is to be done now, in this order.
    """

    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}
        self._revisions: dict[str, _Revision] = {}
        self._workers: dict[str, None] = {}  # that are linked
        self._retired: set[str] = set()  # they get slots only for requests that wait
        self._awaited: set[str] = set()  # they may have leases that nobody knows of yet

    # Instances.

    def serve(self, instance: str, revision: str, slots: int) -> list[Instruction]:
        """Lease an instance's slots from now on (again)."""
        of = self._revision(revision)
        known = self._instances.setdefault(instance, _Instance())
        if not known.revision:
            known.revision, known.slots = revision, slots
            of.instances += 1
        if not known.open:
            known.open = True
            of.slots += known.slots
            of.leased += known.leased
            self._count_free(instance)
        return self._share(revision)

    def withhold(self, instance: str) -> None:
        """Lease no more of an instance: it gets no new request."""
        known = self._instances.get(instance)
        if known is not None and known.open:
            known.open = False
            of = self._revision(known.revision)
            of.slots -= known.slots
            of.leased -= known.leased
            of.free.pop(instance, None)

    def remove(self, instance: str) -> None:
        """Forget an instance that has ended, and its leases."""
        self.withhold(instance)
        known = self._instances.pop(instance, None)
        if known is not None and known.revision:
            of = self._revision(known.revision)
            of.instances -= 1
            # Workers go on counting what they are granted: without that, none is forgotten.
            if not (of.instances or of.wants or of.in_flight.total() or of.granted):
                del self._revisions[known.revision]

    def forget(self, revision: str) -> None:
        """Forget a revision that is no more, and what was granted of it.

        Workers forget it too: one of the same name that comes later is granted slots from zero, or
        these would seem to be on their way for ever, and nobody to wait.
        """
        of = self._revisions.get(revision)
        if of is not None and not of.instances:
            del self._revisions[revision]

    # Workers.

    def expect(self, workers: Iterable[str]) -> None:
        """Grant nothing before these have joined or left: they may have slots on lease."""
        self._awaited.update(workers)

    def join(
        self, worker: str, slots: Mapping[str, int], aside: Collection[str] = ()
    ) -> list[Instruction]:
        """Take a worker's word, also after its link was lost, for the slots that it has.

        It gives no request to the instances that it has set aside.
        """
        self._workers[worker] = None
        for name in slots:
            self._instances.setdefault(name, _Instance())
        for name, instance in self._instances.items():
            self._set(name, instance, worker, slots.get(name, 0))
            (instance.avoided.add if name in aside else instance.avoided.discard)(worker)
        for revision in self._revisions.values():
            revision.forget(worker)
        return self._heard(worker)

    def unlink(self, worker: str) -> list[Instruction]:
        """Ask a worker for nothing while its link is lost; what it has stays leased."""
        self._workers.pop(worker, None)
        for revision in self._revisions.values():
            in_flight = revision.in_flight[worker]
            revision.forget(worker)
            revision.in_flight[worker] = in_flight
        return self._share_all()

    def retire(self, worker: str) -> list[Instruction]:
        """Ask a worker that is to end for all that it does not use."""
        self._retired.add(worker)
        return self._share_all()

    def leave(self, worker: str) -> list[Instruction]:
        """Take back all that a worker had: its process has ended."""
        self._workers.pop(worker, None)
        self._retired.discard(worker)
        for name, instance in self._instances.items():
            self._set(name, instance, worker, 0)
            instance.avoided.discard(worker)
        for revision in self._revisions.values():
            revision.forget(worker)
        return self._heard(worker)

    # What workers say.

    def set_aside(self, worker: str, instance: str, *, aside: bool) -> list[Instruction]:
        """A worker gives an instance no request for a while, or does again."""
        known = self._instances.get(instance)
        if known is None:
            return []
        (known.avoided.add if aside else known.avoided.discard)(worker)
        return self._share(known.revision) if known.revision else []

    def starved(self, worker: str, revision: str, level: Level, granted: int) -> list[Instruction]:
        """Requests wait at a worker that has heard of so many granted slots since its hello."""
        self._take_level(worker, revision, level, granted)
        return self._share(revision)

    def returned(
        self,
        worker: str,
        revision: str,
        slots: Iterable[tuple[str, int]],
        level: Level,
        granted: int,
        *,
        answer: bool,
    ) -> list[Instruction]:
        """A worker has given slots back; `answer`: it has given all that are free now."""
        of = self._revision(revision)
        for name, count in slots:
            of.owed[worker] = max(of.owed[worker] - count, 0)
            of.ahead[worker] = max(of.ahead[worker] - count, 0)
            if instance := self._instances.get(name):
                self._set(name, instance, worker, instance.leased[worker] - count)
        if answer:
            of.asked -= Counter((worker,))
        self._take_level(worker, revision, level, granted)
        return self._share(revision)

    def seen(self, worker: str, revision: str, level: Level) -> list[Instruction]:
        """Take a report. It may have been written before slots came: its queue only lowers."""
        of = self._revision(revision)
        of.in_flight[worker] = level.in_flight
        of.want(worker, min(of.wants.get(worker, 0), level.queued))
        return self._share(revision) if of.free else []

    def is_asking(self, revision: str) -> bool:
        """Tell whether a worker has still to answer what it has free."""
        of = self._revisions.get(revision)
        return of is not None and bool(of.asked)

    def wait_no_more(self, revision: str) -> list[Instruction]:
        """Go on without the answers that have not come: a worker may be stuck."""
        of = self._revision(revision)
        if not of.asked:
            return []
        of.asked.clear()
        return self._share(revision)

    def level(self, revision: str) -> Level:
        """Return what is in flight and waits at all workers; none waits while slots are sought."""
        of = self._revisions.get(revision)
        if of is None:
            return Level()
        waiting = 0 if of.asked else sum(of.wants.values())
        return Level(sum(of.in_flight.values()), waiting)

    def refuse(self, revision: str, requests: int) -> list[Instruction]:
        """Let so many requests wait no longer: those of the workers that began to wait last."""
        of = self._revision(revision)
        refusals: list[Instruction] = []
        for worker, waiting in reversed(list(of.wants.items())):
            count = min(waiting, requests)
            if count:
                refusals.append(Refuse(worker, revision, count))
                of.want(worker, waiting - count)
                requests -= count
        return refusals

    # What follows.

    def _revision(self, name: str) -> _Revision:
        return self._revisions.setdefault(name, _Revision(name))

    def _set(self, name: str, instance: _Instance, worker: str, slots: int) -> None:
        """Take it that a worker has so many slots of an instance."""
        before = instance.leased.pop(worker, 0)
        if slots > 0:
            instance.leased[worker] = slots
        if instance.open and slots != before:
            self._revision(instance.revision).leased[worker] += slots - before
            self._count_free(name)

    def _count_free(self, name: str) -> None:
        instance = self._instances[name]
        free = self._revision(instance.revision).free
        free[name] = instance.slots - instance.leased.total()
        if free[name] <= 0:
            del free[name]

    def _take_level(self, worker: str, revision: str, level: Level, granted: int) -> None:
        of = self._revision(revision)
        coming = max(min(of.granted[worker] - granted, level.queued), 0)
        of.in_flight[worker] = level.in_flight + coming
        of.want(worker, level.queued - coming)

    def _heard(self, worker: str) -> list[Instruction]:
        self._awaited.discard(worker)
        return self._share_all()

    def _share_all(self) -> list[Instruction]:
        return [each for name in list(self._revisions) for each in self._share(name)]

    def _share(self, revision: str) -> list[Instruction]:
        """Give out what is free; ask for what is not, and say so when all have answered."""
        of = self._revision(revision)
        if self._awaited:
            return []
        instructions = [*self._satisfy(of), *self._spread(of), *self._ask(of)]
        if of.wants and not of.asked:
            instructions.append(Lack(revision))
        return instructions

    def _satisfy(self, of: _Revision) -> Iterable[Instruction]:
        """Give free slots to those whose requests wait."""
        for worker, waiting in list(of.wants.items()):
            for name, free in list(of.free.items()):
                if worker in self._instances[name].avoided:
                    continue
                if not waiting:
                    break
                slots = min(waiting, free)
                waiting -= slots
                of.want(worker, waiting)
                of.in_flight[worker] += slots
                yield self._grant(of, worker, name, slots)

    def _spread(self, of: _Revision) -> Iterable[Instruction]:
        """Give what nobody waits for to all in equal parts, so that their next requests need not.

        The last of an instance's slots go to those who have the fewest of the revision's.
        """
        for name in () if of.wants else list(of.free):
            instance = self._instances[name]
            workers = [
                worker
                for worker in self._workers
                if worker not in self._retired and worker not in instance.avoided
            ]
            part = -(-instance.slots // max(len(workers), 1))
            for worker in sorted(workers, key=lambda each: of.leased[each]):
                slots = min(of.free.get(name, 0), part - instance.leased[worker])
                if slots > 0:
                    yield self._grant(of, worker, name, slots)

    def _grant(self, of: _Revision, worker: str, name: str, slots: int) -> Grant:
        instance = self._instances[name]
        self._set(name, instance, worker, instance.leased[worker] + slots)
        of.granted[worker] += slots
        return Grant(worker, name, slots)

    def _ask(self, of: _Revision) -> Iterable[Instruction]:
        """Ask every worker for the slots that others want; one that is to end, for all.

        A worker whose own requests wait gives what it has above its part ahead of them, and all
        else only when they have been served.
        """
        waiting = sum(of.wants.values())
        idle = sum(of.leased[worker] for worker in of.leased if worker not in of.wants)
        part = (of.slots - idle) // len(of.wants) if of.wants else 0
        short = sum(
            min(wanted, max(part, 1) - of.leased[worker])
            for worker, wanted in of.wants.items()
            if of.leased[worker] < max(part, 1)
        )
        for worker in self._workers:
            leased, wanted = of.leased[worker], of.wants.get(worker, 0)
            owed = leased if worker in self._retired else min(waiting - wanted, leased)
            ahead = min(short, leased - part, owed) if wanted else 0
            slots = max(owed - of.owed[worker], 0)
            ahead = max(ahead - of.ahead[worker], 0)
            if slots or ahead:
                of.owed[worker] += slots
                of.ahead[worker] += ahead
                of.asked[worker] += 1
                yield Recall(worker, of.name, slots, ahead)
