"""Putting an instance to rest: who has let go, and that no request ever meets a frozen one."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.router.waiting import Waiting

from windlass.autoscaler.rest import Rest
from windlass.deploy.rests import Rests
from windlass.router import link
from windlass.router.dispatch import Dispatch

if TYPE_CHECKING:
    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange
    from windlass.router.pool import Pool

DELAY = 500
INSTANCES = ("a",)


def test_all_have_let_go_when_the_last_one_has() -> None:
    rests = Rests()
    rests.ask("a", 1, ["w1", "w2"])
    assert rests.answer("w1", "a", 1, at_rest=True) is None
    assert rests.answer("w1", "a", 1, at_rest=True) is None
    assert rests.answer("w2", "a", 1, at_rest=True) is True
    assert rests.answer("w2", "a", 1, at_rest=True) is None


def test_one_that_uses_it_ends_the_round() -> None:
    rests = Rests()
    rests.ask("a", 1, ["w1", "w2"])
    assert rests.answer("w1", "a", 1, at_rest=False) is False
    assert rests.answer("w2", "a", 1, at_rest=True) is None


def test_answers_of_another_round_do_not_count() -> None:
    rests = Rests()
    rests.ask("a", 1, ["w1"])
    rests.ask("a", 2, ["w1"])
    assert rests.answer("w1", "a", 1, at_rest=True) is None
    assert rests.answer("w1", "a", 2, at_rest=True) is True
    rests.ask("a", 3, ["w1"])
    rests.forget("a")
    assert rests.answer("w1", "a", 3, at_rest=True) is None


def test_a_worker_that_is_gone_uses_nothing() -> None:
    rests = Rests()
    rests.ask("a", 4, ["w1", "w2"])
    rests.ask("b", 1, ["w2"])
    assert rests.worker_gone("w2") == [("b", 1)]
    assert rests.answer("w1", "a", 4, at_rest=True) is True


class Held(Waiting):
    """A request that stays where it is until it is told to end."""

    def grant(self, endpoint: Endpoint, now: int) -> None:
        self.endpoint, self.granted = endpoint, now


class Worker:
    """A router worker with the real dispatch, and its link's two directions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.linked = True
        self.to_node: deque[link.ToNode] = deque()
        self.from_node: deque[link.ToWorker] = deque()
        self.requests: list[Held] = []
        self.used: dict[str, int] = {}  # instance -> moment at which it was last in use
        self.dispatch = Dispatch(self)

    # Its voice.

    def say(self, message: link.ToNode) -> None:
        if self.linked:
            self.to_node.append(message)

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        self.say(link.Starved(revision="r", queued=len(pool.queue), in_flight=0))

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None: ...

    def aside(self, instance: str, *, aside: bool) -> None: ...

    def drained(self, instance: str) -> None: ...

    def unreachable(self, instance: str, failures: int, reason: str) -> None: ...

    def rested(self, instance: str, number: int, *, at_rest: bool) -> None:
        self.say(link.InstanceRested(instance=instance, round=number, at_rest=at_rest))

    def woken(self, instance: str) -> None:
        self.say(link.InstanceWoken(instance))

    def hear(self, now: int) -> None:
        match self.from_node.popleft():
            case link.InstanceReady() as message:
                self.dispatch.add_instance(message, now)
                if not self.dispatch.leases()[message.instance.id]:
                    self.dispatch.lease(link.Grant(message.instance.id, 2), now)
            case link.InstanceRest() as message:
                self.dispatch.rest_instance(message)
            case link.InstanceFrozen() as message:
                self.dispatch.freeze_instance(message, now)
            case other:
                raise AssertionError(other)


class World:
    """A node and two workers, each message delayed at will; also links and nodes that die."""

    def __init__(self, folder: Path) -> None:
        self.now = 1
        self.folder = folder
        self.frozen = 0  # times
        self.routes = link.Routes(
            services=(
                link.ServiceRoute(name="hello", splits=(link.Split(revision="r", percent=100),)),
            ),
            revisions=(link.RevisionRoute(name="r", service="hello", concurrency=2, target=1),),
        )
        self.workers = [Worker("w1"), Worker("w2")]
        for worker in self.workers:
            worker.dispatch.apply_routes(self.routes, 0)
        self.start_node()

    def freezer(self, instance: str) -> Path:
        return self.folder / instance

    # The node, as Sleeper and Switchboard are.

    def start_node(self) -> None:
        self.rests = Rests()
        self.states = {name: Rest(DELAY, self.now) for name in INSTANCES}
        for name in INSTANCES:
            self.freezer(name).write_text("THAWED")
        for worker in self.workers:
            self.join(worker)

    def join(self, worker: Worker) -> None:
        worker.linked = True
        for name in INSTANCES:
            self.wake(name)
        worker.from_node.extend(self.ready(name) for name in INSTANCES)

    def ready(self, name: str) -> link.InstanceReady:
        route = link.InstanceRoute(id=name, revision="r", host="127.0.0.1", port=1)
        return link.InstanceReady(route)

    def send(self, message: link.ToWorker) -> None:
        for worker in self.workers:
            if worker.linked:
                worker.from_node.append(message)

    def wake(self, name: str) -> None:
        if self.states[name].wake(self.now):
            self.freezer(name).write_text("THAWED")
            self.rests.forget(name)
            self.send(self.ready(name))

    def hear(self, worker: Worker) -> None:
        match worker.to_node.popleft():
            case link.InstanceRested(instance=name, round=number, at_rest=at_rest):
                released = self.rests.answer(worker.name, name, number, at_rest=at_rest)
                if released and self.states[name].released(number):
                    self.freezer(name).write_text("FROZEN")
                    self.frozen += 1
                    self.send(link.InstanceFrozen(name))
                elif released is False and self.states[name].refused(number, self.now):
                    self.send(self.ready(name))
            case link.InstanceWoken(instance=name) | link.InstanceDrained(instance=name):
                self.wake(name)
            case link.Starved():
                for name in INSTANCES:
                    self.wake(name)

    # What may happen.

    def time_passes(self, step: int, *, late: bool = False) -> None:
        self.now += step
        for name, rest in self.states.items():
            used = max(worker.used.get(name, 0) for worker in self.workers)
            rest.loaded(0, 0 if late else used)  # a report may come late
            if rest.ask(self.now):
                self.rests.ask(name, rest.round, [worker.name for worker in self.workers])
                thaw = link.Thaw(str(self.freezer(name)), "THAWED")
                self.send(link.InstanceRest(instance=name, round=rest.round, thaw=thaw))

    def hear_all(self) -> None:
        while any(worker.to_node or worker.from_node for worker in self.workers):
            for worker in self.workers:
                if worker.to_node:
                    self.hear(worker)
                if worker.from_node:
                    worker.hear(self.now)

    def request(self, worker: Worker) -> None:
        request = Held(worker.dispatch)
        worker.requests.append(request)
        request.begin(self.now)

    def answer(self, worker: Worker) -> None:
        request = worker.requests.pop(0)
        if request.endpoint:
            worker.used[request.endpoint.id] = self.now
            request.complete(self.now)
        else:
            request.abandon(499, self.now)

    def lose_link(self, worker: Worker) -> None:
        self.lose(worker)
        for name in INSTANCES:
            self.wake(name)
        self.join(worker)

    def lose_node(self) -> None:
        for worker in self.workers:
            self.lose(worker)
            self.nobody_waits_for_what_rests(worker)

    def lose(self, worker: Worker) -> None:
        worker.linked = False
        worker.to_node.clear()
        while worker.from_node:  # what was sent is still read
            worker.hear(self.now)
        worker.dispatch.lose_node(self.now)
        worker.to_node.clear()

    def step(self, what: str, worker: Worker) -> None:
        match what:
            case "request":
                self.request(worker)
            case "answer" if worker.requests:
                self.answer(worker)
            case "node hears" if worker.to_node:
                self.hear(worker)
            case "worker hears" if worker.from_node:
                worker.hear(self.now)
            case "all is heard":
                self.hear_all()
            case "idle" | "late":
                self.time_passes(DELAY, late=what == "late")
            case "soon":
                self.time_passes(1)
            case "link lost":
                self.lose_link(worker)
            case "node killed":
                self.lose_node()
            case "node starts":
                self.lose_node()
                self.start_node()

    # What must hold, after every step.

    def nobody_waits_for_what_rests(self, worker: Worker) -> None:
        pool = worker.dispatch.pools["r"]
        assert not (pool.queue and pool.resting)
        assert not pool.queue or all(instance.open for instance in pool.instances.values())

    def check(self) -> None:
        for worker in self.workers:
            for request in worker.requests:
                if request.endpoint:
                    assert self.freezer(request.endpoint.id).read_text() == "THAWED"
        if not any(worker.to_node or worker.from_node for worker in self.workers):
            for worker in self.workers:
                if worker.linked:
                    self.nobody_waits_for_what_rests(worker)


HEARD = ("node hears", "worker hears", "worker hears", "all is heard")
USUAL = ("request", "answer", "answer", "idle", "late", "soon", *HEARD)
STEPS = st.tuples(
    st.sampled_from([*USUAL * 4, "link lost", "node killed", "node starts"]), st.integers(0, 1)
)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(STEPS, min_size=40, max_size=120))
def test_no_request_is_ever_on_a_frozen_instance(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for what, number in steps:
            world.step(what, world.workers[number])
            world.check()
        event(f"frozen {min(world.frozen, 3)} times")
