"""A model of shared slots: leases and real pools, behind links that deliver whenever they like."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windlass.deploy.leases import Grant, Instruction, Lack, Leases, Level, Recall, Refuse
from windlass.router.levels import Instance
from windlass.router.link import RevisionRoute
from windlass.router.pool import Pool, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

R = "hello-00001"


def new_pool(now: int) -> Pool[Instance, int]:
    return Pool(RevisionRoute(name=R, service="hello", concurrency=8, target=2), now)


class Worker:
    """A worker process as the node sees it: a real pool, and messages that are on their way."""

    def __init__(self, name: str, now: int) -> None:
        self.name = name
        self.pool = new_pool(now)
        self.held: list[Instance] = []
        self.linked = False
        self.aside: set[str] = set()
        self.up: deque[tuple[str, tuple[tuple[str, int], ...], Level, int]] = deque()
        self.down: deque[Grant | Recall | Refuse | tuple[str, str]] = deque()

    def say(self, kind: str) -> None:
        slots: tuple[tuple[str, int], ...] = ()
        if kind != "starved":
            slots = tuple((i.id, count) for i, count in self.pool.returned.items())
            self.pool.returned.clear()
        if self.linked:
            counts = self.pool.counts
            level = Level(counts.in_flight, counts.queued)
            self.up.append((kind, slots, level, self.pool.granted))

    def hear(self, message: Grant | Recall | Refuse | tuple[str, str]) -> None:
        instances = self.pool.instances
        match message:
            case Grant(instance=name, slots=slots):
                if instance := instances.get(name):
                    self.held += [instance for _ in self.pool.lease(instance, slots, 0)]
                    if self.pool.queue and name in self.aside:
                        self.say("starved")
            case Recall(slots=slots, ahead=ahead):
                self.pool.recall(slots, ahead)
                self.say("answer")
            case Refuse(requests=requests):
                self.pool.dismiss(0, requests)
            case ("rest", name):
                if name in instances and self.pool.rest(instances[name]):
                    instance = instances[name]
                    thaw = partial(self.thaw, name)
                    self.held += [instance for _ in self.pool.freeze(instance, thaw, 0)]
            case ("ready", name):
                self.set_aside(name, aside=False)
                if name in instances:
                    instance = instances[name]
                    self.held += [instance for _ in self.pool.open(instance, 0)]
                else:
                    instance = Instance(name)
                    self.held += [instance for _ in self.pool.add(instance, 0)]
            case ("unready", name):
                self.set_aside(name, aside=False)
                if name in instances:
                    self.pool.close(instances[name])
            case ("gone", name):
                self.set_aside(name, aside=False)
                if name in instances:
                    instance = instances[name]
                    self.pool.remove(instance)
                    while instance in self.held:
                        self.finish(instance)
            case ("dropped", _):  # as Dispatch.apply_routes does
                counts = self.pool.counts
                if not (instances or counts.in_flight or counts.queued):
                    self.pool = new_pool(0)
        if self.pool.returned:
            self.say("returned")

    def thaw(self, name: str) -> None:
        if self.linked:
            self.up.append(("woken", ((name, 0),), Level(), 0))

    def set_aside(self, name: str, *, aside: bool) -> None:
        if aside is not (name in self.aside):
            (self.aside.add if aside else self.aside.discard)(name)
            if self.linked:
                self.up.append(("aside", ((name, int(aside)),), Level(), 0))

    def finish(self, instance: Instance) -> None:
        self.held.remove(instance)
        if self.pool.give_back(instance, 0) is not None:
            self.held.append(instance)
        elif self.pool.returned:
            self.say("returned")


class SharedSlots(RuleBasedStateMachine):
    """A node that restarts, workers that die, links that break, messages that take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases()
        self.instances: dict[str, int] = {}  # that have not ended: concurrency
        self.open: set[str] = set()
        self.workers: list[Worker] = []
        self.dead: list[str] = []  # of whose end the node has not heard
        self.retired: set[str] = set()
        self.names = 0

    def perform(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Lack):
                continue
            for worker in self.workers:
                if worker.name == instruction.worker:
                    assert worker.linked, instruction
                    worker.down.append(instruction)

    def tell_all(self, message: tuple[str, str]) -> None:
        for worker in self.workers:
            if worker.linked:
                worker.down.append(message)

    def hello(self, worker: Worker) -> None:
        """Link a worker: its hello and the node's snapshot."""
        worker.pool.keep_leases()
        worker.linked = True
        slots = {i.id: i.slots for i in worker.pool.instances.values()}
        for name in worker.pool.instances:
            if name not in self.instances:
                worker.down.append(("gone", name))
        for name in self.instances:
            worker.down.append(("ready" if name in self.open else "unready", name))
        known = {name: count for name, count in slots.items() if name in self.instances}
        self.perform(self.leases.join(worker.name, known, worker.aside))
        if worker.pool.queue:
            worker.say("starved")

    def cut(self, worker: Worker) -> None:
        worker.linked = False
        worker.up.clear()
        worker.down.clear()
        worker.pool.keep_leases()

    def deliver_up(self, worker: Worker) -> None:
        kind, slots, level, granted = worker.up.popleft()
        if kind == "woken":
            if slots[0][0] in self.open:
                self.tell_all(("ready", slots[0][0]))
        elif kind == "aside":
            name, aside = slots[0]
            self.perform(self.leases.set_aside(worker.name, name, aside=bool(aside)))
        elif kind == "starved":
            self.perform(self.leases.starved(worker.name, R, level, granted))
        else:
            self.perform(
                self.leases.returned(worker.name, R, slots, level, granted, answer=kind == "answer")
            )

    def any_worker(self, data: st.DataObject) -> Worker:
        return self.workers[data.draw(st.integers(0, len(self.workers) - 1))]

    @precondition(lambda self: len(self.workers) < 3)
    @rule()
    def worker_starts(self) -> None:
        self.names += 1
        self.workers.append(Worker(f"w{self.names}", 0))
        self.hello(self.workers[-1])

    @precondition(lambda self: len(self.instances) < 3)
    @rule(slots=st.integers(1, 8))
    def instance_ready(self, slots: int) -> None:
        self.names += 1
        name = f"i{self.names}"
        self.instances[name] = slots
        self.open.add(name)
        self.tell_all(("ready", name))
        self.perform(self.leases.serve(name, R, slots))

    @precondition(lambda self: self.instances)
    @rule(data=st.data(), what=st.sampled_from(["ready", "unready", "gone"]))
    def instance_changes(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.instances)))
        if what == "gone":
            self.end(name)
            return
        self.tell_all((what, name))
        if what == "ready":
            self.open.add(name)
            self.perform(self.leases.serve(name, R, self.instances[name]))
        else:
            self.open.discard(name)
            self.leases.withhold(name)

    def end(self, name: str) -> None:
        self.tell_all(("gone", name))
        self.open.discard(name)
        del self.instances[name]
        self.leases.remove(name)

    @precondition(lambda self: not any(worker.pool.queue for worker in self.workers))
    @rule()
    def revision_is_deleted_and_made_again(self) -> None:
        """By a service of the same name; nobody waits for an instance of the deleted one."""
        for name in list(self.instances):
            self.end(name)
        self.tell_all(("dropped", R))
        self.leases.forget(R)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def instance_rests(self, data: st.DataObject) -> None:
        """It is frozen at those who do not use it; the first one who needs it wakes it for all."""
        self.tell_all(("rest", data.draw(st.sampled_from(sorted(self.open)))))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), count=st.sampled_from([1, 2, 3, 6, 12]))
    def requests(self, data: st.DataObject, count: int) -> None:
        self.ask_for(self.any_worker(data), count)

    def ask_for(self, worker: Worker, count: int) -> None:
        for _ in range(count):
            self.names += 1
            try:
                instance = worker.pool.acquire(self.names, 0)
            except Refused:
                continue
            if instance is None:
                worker.say("starved")
            else:
                worker.held.append(instance)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(count=st.sampled_from([4, 10]))
    def surge(self, count: int) -> None:
        """More than there are slots, at all workers: one after another comes to its part."""
        for worker in self.workers:
            self.ask_for(worker, count)
        self.all_settles()

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(data=st.data(), count=st.sampled_from([1, 2, 4, 24]))
    def answers(self, data: st.DataObject, count: int) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.held]))
        for _ in range(min(count, len(worker.held))):
            worker.finish(worker.held[data.draw(st.integers(0, len(worker.held) - 1))])

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def clients_leave(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        for ticket in list(worker.pool.queue)[::2]:
            worker.pool.cancel(ticket, 0)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), aside=st.booleans())
    def worker_sets_an_instance_aside(self, data: st.DataObject, aside: bool) -> None:
        worker = self.any_worker(data)
        for instance in list(worker.pool.instances.values())[:1]:
            if aside and instance.open:
                worker.pool.close(instance)
                worker.set_aside(instance.id, aside=True)
            elif not aside and instance.id in worker.aside:
                worker.set_aside(instance.id, aside=False)
                worker.held += [instance for _ in worker.pool.open(instance, 0)]
                if worker.pool.returned:
                    worker.say("returned")

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), count=st.integers(1, 3), up=st.booleans())
    def messages_arrive(self, data: st.DataObject, count: int, up: bool) -> None:
        worker = self.any_worker(data)
        for _ in range(min(count, len(worker.up if up else worker.down))):
            if up:
                self.deliver_up(worker)
            else:
                worker.hear(worker.down.popleft())

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def report_arrives(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        if worker.linked and not worker.up:
            counts = worker.pool.counts
            level = Level(counts.in_flight, counts.queued)
            self.perform(self.leases.seen(worker.name, R, level))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def link_breaks(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        if worker.linked:
            self.cut(worker)
            self.perform(self.leases.unlink(worker.name))
        else:
            self.hello(worker)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_is_killed(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        self.workers.remove(worker)
        if worker.linked:
            self.perform(self.leases.unlink(worker.name))
        self.dead.append(worker.name)

    @precondition(lambda self: self.dead)
    @rule()
    def node_hears_of_the_death(self) -> None:
        self.perform(self.leases.leave(self.dead.pop(0)))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_is_to_end(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        self.retired.add(worker.name)
        self.perform(self.leases.retire(worker.name))

    @rule()
    def node_is_killed_and_started(self) -> None:
        for worker in self.workers:
            self.cut(worker)
        self.retired.clear()
        self.leases = Leases()
        self.leases.expect([*(worker.name for worker in self.workers), *self.dead])
        for name in self.open:
            self.perform(self.leases.serve(name, R, self.instances[name]))

    @rule()
    def all_settles(self) -> None:
        """Let every message arrive: then nobody waits for what is free."""
        while self.dead:
            self.node_hears_of_the_death()
        for worker in self.workers:
            if not worker.linked:
                self.hello(worker)
        for _ in range(1000):
            busy = [worker for worker in self.workers if worker.up or worker.down]
            if not busy:
                break
            for worker in busy:
                while worker.up:
                    self.deliver_up(worker)
                while worker.down:
                    worker.hear(worker.down.popleft())
        else:
            raise AssertionError("messages without end")
        waits = any(worker.pool.queue for worker in self.workers)
        if not waits and any(worker.name not in self.retired for worker in self.workers):
            for name in self.open:
                if any(name in worker.aside for worker in self.workers):
                    continue
                leased = [worker.pool.instances[name].slots for worker in self.workers]
                assert sum(leased) == self.instances[name]
        for waiting in self.workers:
            if waiting.pool.queue:
                for name in self.open:
                    instance = waiting.pool.instances[name]
                    if instance.open or instance in waiting.pool.resting:
                        self.assert_all_in_use(name)
        if of := self.leases._revisions.get(R):
            for worker in self.workers:
                # A worker may owe more than the node knows: it gives more than it is asked for, so
                # that a recall which was on its way meanwhile finds less.
                assert of.owed[worker.name] <= worker.pool.recalled
                assert of.ahead[worker.name] <= worker.pool.ahead
                assert not of.asked[worker.name], "all have answered"
                if worker.pool.recalled:
                    known = worker.pool.instances.values()
                    assert all(instance.slots == instance.in_flight for instance in known)
                if worker.pool.queue:
                    known = worker.pool.instances.values()
                    assert all(i.slots == i.in_flight for i in known if i.open)

    def assert_all_in_use(self, name: str) -> None:
        in_use = sum(worker.pool.instances[name].in_flight for worker in self.workers)
        assert in_use == self.instances[name], f"a request waits, and {name} has a slot free"

    def teardown(self) -> None:
        self.all_settles()
        waiting = sum(len(worker.pool.queue) for worker in self.workers)
        assert self.leases.level(R).queued >= waiting, "the autoscaler is to know of all who wait"

    @invariant()
    def nothing_is_given_back_while_the_node_is_away(self) -> None:
        for worker in self.workers:
            if not worker.linked:
                assert worker.pool.recalled == worker.pool.ahead == 0

    @invariant()
    def what_goes_back_ahead_is_owed(self) -> None:
        for worker in self.workers:
            assert worker.pool.ahead <= worker.pool.recalled

    @invariant()
    def no_instance_has_more_than_it_takes(self) -> None:
        for name, slots in self.instances.items():
            known = [w.pool.instances[name] for w in self.workers if name in w.pool.instances]
            assert sum(instance.in_flight for instance in known) <= slots
            assert sum(instance.slots for instance in known) <= slots
            assert all(instance.in_flight <= instance.slots for instance in known)
