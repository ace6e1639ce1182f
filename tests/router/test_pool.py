"""The pool: slots, queue and choice, by examples and by a state machine with a naive model."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windlass.model.service import Mode
from windlass.router.levels import Instance
from windlass.router.link import RevisionRoute
from windlass.router.pool import Pool, Reason, Refused

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND


def make_pool(
    mode: Mode = Mode.CLOUDRUN,
    *,
    concurrency: int = 2,
    target: int = 2,
    max_instances: int = 3,
    queue_wait: float = 10.0,
) -> Pool[Instance, str]:
    route = RevisionRoute(
        name="hello-00001",
        service="hello",
        mode=mode,
        concurrency=concurrency,
        target=target,
        max_instances=max_instances,
        shadow_concurrency=2,
        queue_wait=queue_wait,
    )
    return Pool(route, now=0)


def test_the_fullest_instance_below_the_target_is_chosen() -> None:
    pool = make_pool(concurrency=4, target=3)
    first, second = Instance("a", 4), Instance("b", 4)
    pool.add(first, 0)
    pool.add(second, 0)
    chosen = [pool.acquire(f"r{n}", n) for n in range(3)]
    assert chosen in ([first] * 3, [second] * 3)
    assert pool.acquire("r3", 3) is not chosen[0]


def test_above_the_target_the_least_loaded_is_chosen() -> None:
    pool = make_pool(concurrency=4, target=1)
    pool.add(Instance("a", 4), 0)
    pool.add(Instance("b", 4), 0)
    for n in range(6):
        pool.acquire(f"r{n}", n)
    assert [instance.in_flight for instance in pool.instances.values()] == [3, 3]


def test_a_target_of_zero_spreads() -> None:
    pool = make_pool(concurrency=4, target=0)
    pool.add(Instance("a", 4), 0)
    pool.add(Instance("b", 4), 0)
    for n in range(4):
        pool.acquire(f"r{n}", n)
    assert [instance.in_flight for instance in pool.instances.values()] == [2, 2]


def test_a_released_slot_goes_to_the_head_of_the_queue() -> None:
    pool = make_pool(concurrency=1)
    instance = Instance("a", 1)
    pool.add(instance, 0)
    assert pool.acquire("r0", 0) is instance
    assert pool.acquire("r1", 1) is None
    assert pool.acquire("r2", 2) is None
    assert pool.release(instance, 0, 3) == "r1"
    assert instance.in_flight == 1
    assert pool.release(instance, 3, 4) == "r2"
    assert pool.release(instance, 4, 5) is None
    assert instance.in_flight == 0


def test_a_draining_instance_gets_no_new_request() -> None:
    pool = make_pool(concurrency=1)
    instance = Instance("a", 1)
    pool.add(instance, 0)
    pool.acquire("r0", 0)
    pool.acquire("r1", 0)
    pool.drain(instance)
    assert pool.release(instance, 0, 1) is None
    assert list(pool.queue) == ["r1"]
    assert pool.open(instance, 2) == []


def test_a_retry_avoids_the_instance_that_failed_unless_no_other_has_a_slot() -> None:
    pool = make_pool(concurrency=1)
    bad, good = Instance("a", 1), Instance("b", 1)
    pool.add(good, 0)
    pool.add(bad, 0)
    assert pool.acquire("r0", 0) is bad
    pool.give_back(bad, 1)
    assert pool.retry("r0", 0, 1, avoid=bad) is good
    assert pool.retry("r1", 0, 1, avoid=bad) is bad
    assert pool.retry("r2", 0, 1, avoid=bad) is None
    pool.close(bad)
    assert pool.release(good, 1, 2) == "r2"
    assert pool.release(good, 1, 2) is None
    assert pool.retry("r3", 0, 2, avoid=bad) is good


def test_the_queue_is_limited_by_slots_and_refuses_with_its_limit() -> None:
    pool = make_pool(concurrency=2)
    for n in range(20):
        pool.acquire(f"r{n}", 0)
    with pytest.raises(Refused) as refused:
        pool.acquire("one too many", 0)
    assert (refused.value.reason, refused.value.limit) == (Reason.QUEUE_FULL, 20)
    pool.add(Instance("a", 2), 0)  # takes two
    pool.add(Instance("b", 2), 0)  # takes two more, and the limit is 40 now
    for n in range(24):
        pool.acquire(f"s{n}", 0)
    with pytest.raises(Refused):
        pool.acquire("one too many", 0)


def test_from_zero_the_queue_holds_what_all_allowed_instances_could_serve_at_once() -> None:
    pool = make_pool(concurrency=80, max_instances=100)
    assert pool.queue_limit == 8_000
    pool.configure(msgspec.structs.replace(pool.route, max_instances=1))
    assert pool.queue_limit == 800


def test_the_queue_never_holds_more_than_ten_thousand() -> None:
    assert make_pool(concurrency=1000).queue_limit == 10_000
    pool = make_pool(concurrency=1000)
    pool.add(Instance("a", 1000), 0)
    pool.add(Instance("b", 1000), 0)
    assert pool.queue_limit == 10_000


def test_lambda_mode_serves_one_at_a_time_and_refuses_beyond_its_instances() -> None:
    pool = make_pool(Mode.LAMBDA, concurrency=80, max_instances=2)
    instance = Instance("a", 1)
    pool.add(instance, 0)
    assert pool.acquire("r0", 0) is instance
    assert pool.acquire("r1", 0) is None  # an environment is being started for it
    with pytest.raises(Refused) as refused:
        pool.acquire("r2", 0)
    assert refused.value.reason is Reason.AT_LIMIT


def test_waiting_tickets_expire_in_their_order() -> None:
    pool = make_pool(queue_wait=1.0)
    pool.acquire("r0", 0)
    pool.acquire("r1", SECOND // 2)
    assert pool.expire(SECOND - 1) == []
    assert pool.expire(SECOND) == ["r0"]
    assert pool.expire(2 * SECOND) == ["r1"]


def test_a_cancelled_ticket_is_passed_over() -> None:
    pool = make_pool(concurrency=1)
    pool.acquire("r0", 0)
    pool.acquire("r1", 0)
    pool.cancel("r0", 1)
    pool.cancel("r0", 1)
    assert pool.add(Instance("a", 1), 2) == ["r1"]


def test_a_retried_ticket_waits_at_the_head() -> None:
    pool = make_pool(concurrency=1)
    broken = Instance("broken", 1)
    pool.add(broken, 0)
    pool.acquire("r0", 0)
    pool.acquire("r1", 1)
    pool.close(broken)
    assert pool.give_back(broken, 2) is None
    assert pool.retry("r0", 0, 2) is None
    assert pool.add(Instance("sound", 1), 3) == ["r0"]
    assert broken.counts.requests == 0


def test_an_instance_set_aside_serves_the_queue_when_it_opens_again() -> None:
    pool = make_pool(concurrency=1)
    instance = Instance("a", 1)
    pool.add(instance, 0)
    pool.close(instance)
    pool.acquire("r0", 1)
    assert pool.open(instance, 2) == ["r0"]


def test_cold_starts_are_the_waits_that_a_start_ended() -> None:
    pool = make_pool(concurrency=1)
    instance = Instance("a", 1)
    pool.acquire("cold", 10)
    pool.acquire("cold, second", 20)
    pool.add(instance, 100)
    pool.acquire("only queued", 110)
    pool.release(instance, 100, 200)
    pool.release(instance, 200, 300)
    pool.release(instance, 300, 400)
    report = pool.report(400)
    assert report is not None
    assert report.cold_starts == (90, 180)


def test_a_pool_that_did_nothing_reports_nothing() -> None:
    pool = make_pool()
    instance = Instance("a", 2)
    pool.add(instance, 0)
    assert pool.report(SECOND) is None
    assert instance.counts.report("a", 0) is None


def frozen_pool(*names: str) -> tuple[Pool[Instance, str], list[str]]:
    """Return a pool of frozen instances, concurrency 2 and target 1, and those thawed so far."""
    thawed: list[str] = []
    pool = make_pool(concurrency=2, target=1)
    for name in names:
        instance = Instance(name, 2)
        pool.add(instance, 0)
        assert pool.rest(instance)
        assert pool.freeze(instance, partial(thawed.append, name), 0) == []
    return pool, thawed


def test_a_request_thaws_the_instance_that_was_frozen_last() -> None:
    pool, thawed = frozen_pool("a", "b")
    instance = pool.acquire("r0", 1)
    assert instance is not None
    assert (instance.id, thawed) == ("b", ["b"])


def test_an_instance_is_thawed_where_an_idle_one_would_be_used() -> None:
    pool, thawed = frozen_pool("a", "b")
    chosen = [pool.acquire(f"r{n}", n) for n in range(4)]  # the target is one request
    assert thawed == ["b", "a"]
    assert [each.in_flight for each in chosen if each] == [2, 2, 2, 2]


def test_none_is_thawed_while_another_is_idle() -> None:
    pool, thawed = frozen_pool("a")
    pool.add(Instance("b", 2), 1)
    for n in range(3):
        instance = pool.acquire(f"r{n}", n)
        assert instance is not None
        assert instance.id == "b"
        pool.release(instance, n, n)
    assert thawed == []


def test_an_instance_in_use_or_closed_is_not_put_to_rest() -> None:
    pool = make_pool()
    instance = Instance("a", 2)
    pool.add(instance, 0)
    pool.acquire("r0", 0)
    assert not pool.rest(instance)
    assert instance.open
    pool.release(instance, 0, 1)
    pool.close(instance)
    assert not pool.rest(instance)


def test_who_waited_when_an_instance_was_frozen_thaws_it() -> None:
    pool, thawed = make_pool(), list[str]()
    instance = Instance("a", 2)
    pool.add(instance, 0)
    assert pool.rest(instance)
    assert pool.acquire("r0", 1) is None
    assert pool.freeze(instance, lambda: thawed.append("a"), 2) == ["r0"]
    assert (thawed, instance.in_flight) == (["a"], 1)


def test_a_client_that_comes_back_thaws_its_instance() -> None:
    pool, thawed = frozen_pool("a", "b")
    preferred = pool.prefer("a", 1)
    assert preferred is not None
    assert (preferred.id, thawed) == ("a", ["a"])


@pytest.mark.parametrize("what", ["close", "drain", "remove"])
def test_a_frozen_instance_that_is_closed_is_not_thawed_for_requests(what: str) -> None:
    pool, thawed = frozen_pool("a")
    getattr(pool, what)(pool.instances["a"])
    assert pool.acquire("r0", 1) is None
    assert thawed == []


def test_slots_that_are_leased_later_serve_those_who_wait() -> None:
    pool = make_pool(concurrency=3)
    instance = Instance("a")
    assert pool.acquire("r0", 0) is None
    assert pool.acquire("r1", 0) is None
    assert pool.add(instance, 1) == []
    assert pool.lease(instance, 1, 2) == ["r0"]
    assert pool.lease(instance, 2, 3) == ["r1"]
    report = pool.report(3)
    assert report is not None
    assert report.cold_starts == (2, 3)  # they waited for the instance, whenever its slots came
    assert pool.acquire("r2", 4) is instance
    assert pool.acquire("r3", 4) is None


def test_a_recall_takes_what_is_free_and_half_of_the_rest() -> None:
    pool = make_pool(concurrency=10)
    instance = Instance("a", 10)
    pool.add(instance, 0)
    pool.acquire("r0", 0)
    pool.recall(1, 0)
    assert pool.returned == {instance: 5}  # of nine
    assert (instance.slots, pool.recalled) == (5, 0)


def busy_pool(waiting: int) -> tuple[Pool[Instance, str], Instance]:
    """Return a pool with both slots of its instance in use, by r0 and r1, and who waits for one."""
    pool = make_pool(concurrency=2)
    instance = Instance("a", 2)
    pool.add(instance, 0)
    for number in range(2 + waiting):
        pool.acquire(f"r{number}", 0)
    return pool, instance


def test_a_recalled_slot_in_use_goes_back_when_nobody_waits_for_it() -> None:
    pool, instance = busy_pool(waiting=1)
    pool.recall(1, 0)
    assert pool.release(instance, 0, 1) == "r2"
    assert pool.release(instance, 0, 2) is None
    assert pool.returned == {instance: 1}
    assert pool.acquire("r3", 3) is None


def test_a_slot_that_is_recalled_ahead_goes_back_before_those_who_wait() -> None:
    pool, instance = busy_pool(waiting=2)
    pool.recall(2, 1)
    assert pool.release(instance, 0, 1) is None
    assert pool.returned == {instance: 1}
    assert pool.release(instance, 0, 2) == "r2"


def test_what_is_recalled_ahead_when_all_has_gone_back_keeps_no_slot_from_those_who_wait() -> None:
    """The node did not know yet: the slots were on their way to it."""
    pool, instance = busy_pool(waiting=1)
    pool.recall(0, 1)
    assert pool.release(instance, 0, 1) == "r2"


def test_workers_share_target_and_queue_in_equal_parts() -> None:
    route = RevisionRoute(name="r", service="s", concurrency=10, target=7)
    pool: Pool[Instance, str] = Pool(route, 0, workers=2)
    assert pool.queue_limit == 500  # of a thousand
    pool.add(Instance("a", 10), 0)
    pool.add(Instance("b", 10), 0)
    for n in range(8):
        pool.acquire(f"r{n}", n)
    assert [instance.in_flight for instance in pool.instances.values()] == [4, 4]


class PoolAgainstModel(RuleBasedStateMachine):
    """Any sequence of events; the model recomputes everything from the raw events."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.tickets = 0
        self.pool: Pool[Instance, int] = Pool(
            RevisionRoute(
                name="r", service="s", concurrency=3, target=2, shadow_concurrency=2, queue_wait=1.0
            ),
            now=0,
        )
        self.known: list[Instance] = []
        self.leased: dict[str, int] = {}  # as the node believes
        self.held: list[tuple[int, Instance, int]] = []  # ticket, instance, granted
        self.waiting: list[int] = []
        self.at_rest: list[Instance] = []  # closed, so that they can be frozen
        self.frozen: set[Instance] = set()
        self.history: list[tuple[int, dict[str, int], int]] = []  # moment, in-flights, queued

    def note(self) -> None:
        in_flights = {instance.id: 0 for instance in self.known}
        for _, instance, _ in self.held:
            in_flights[instance.id] += 1
        self.history.append((self.now, in_flights, len(self.waiting)))

    def grant(self, ticket: int, instance: Instance) -> None:
        assert ticket == self.waiting.pop(0), "first come, first served"
        self.held.append((ticket, instance, self.now))

    @rule(step=st.integers(0, 500 * MILLISECOND))
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule()
    def request(self) -> None:
        self.tickets += 1
        try:
            instance = self.pool.acquire(self.tickets, self.now)
        except Refused as refused:
            assert len(self.waiting) == refused.limit  # noqa: PT017
            return
        if instance is None:
            self.waiting.append(self.tickets)
        else:
            self.held.append((self.tickets, instance, self.now))
        self.note()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reached=st.booleans())
    def answer(self, data: st.DataObject, reached: bool) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        _, instance, granted = self.held.pop(index)
        if reached:
            ticket = self.pool.release(instance, granted, self.now)
        else:
            ticket = self.pool.give_back(instance, self.now)
        if ticket is not None:
            self.grant(ticket, instance)
        self.note()

    @precondition(lambda self: len(self.known) < 8)
    @rule(slots=st.integers(0, 3))
    def instance_ready(self, slots: int) -> None:
        instance = Instance(f"i{len(self.known)}", slots)
        self.leased[instance.id] = slots
        self.known.append(instance)
        for ticket in self.pool.add(instance, self.now):
            self.grant(ticket, instance)
        self.note()

    @precondition(lambda self: self.pool.instances)
    @rule(data=st.data(), what=st.sampled_from(["close", "open", "drain", "remove"]))
    def instance_changes(self, data: st.DataObject, what: str) -> None:
        instance = data.draw(st.sampled_from(list(self.pool.instances.values())))
        if what == "open":
            self.thaw(instance)  # as the node does before it says so
            for ticket in self.pool.open(instance, self.now):
                self.grant(ticket, instance)
        else:
            getattr(self.pool, what)(instance)
        if instance in self.at_rest:
            self.at_rest.remove(instance)
        self.note()

    @precondition(lambda self: self.pool.instances)
    @rule(data=st.data())
    def instance_is_to_rest(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(list(self.pool.instances.values())))
        used = instance.in_flight or not instance.open
        assert self.pool.rest(instance) is not used
        if not used:
            self.at_rest.append(instance)

    @precondition(lambda self: self.at_rest)
    @rule(data=st.data())
    def instance_is_frozen(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(self.at_rest))
        self.at_rest.remove(instance)
        self.frozen.add(instance)
        for ticket in self.pool.freeze(instance, lambda: self.thaw(instance), self.now):
            self.grant(ticket, instance)
        self.note()

    def thaw(self, instance: Instance) -> None:
        self.frozen.discard(instance)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def client_gone(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.pool.cancel(ticket, self.now)
        self.note()

    @rule()
    def waits_end(self) -> None:
        for ticket in self.pool.expire(self.now):
            assert ticket == self.waiting.pop(0)
        self.note()

    @rule()
    def start_fails(self) -> None:
        assert self.pool.dismiss(self.now, 100) == self.waiting
        self.waiting.clear()
        self.note()

    @rule(count=st.integers(0, 3))
    def node_refuses(self, count: int) -> None:
        kept = max(len(self.waiting) - count, 0)
        assert self.pool.dismiss(self.now, count) == self.waiting[kept:]
        del self.waiting[kept:]
        self.note()

    @precondition(lambda self: self.pool.instances)
    @rule(data=st.data(), slots=st.integers(0, 3))
    def node_grants(self, data: st.DataObject, slots: int) -> None:
        instance = data.draw(st.sampled_from(list(self.pool.instances.values())))
        slots = min(slots, 3 - self.leased[instance.id])
        self.leased[instance.id] += slots
        for ticket in self.pool.lease(instance, slots, self.now):
            self.grant(ticket, instance)
        self.note()

    @rule(slots=st.integers(1, 4), ahead=st.integers(0, 4))
    def node_recalls(self, slots: int, ahead: int) -> None:
        free = sum(i.slots - i.in_flight for i in self.pool.instances.values())
        before = sum(self.pool.returned.values())
        self.pool.recall(slots, ahead)
        assert sum(self.pool.returned.values()) - before >= min(slots, free)

    @rule()
    def returned_slots_are_told(self) -> None:
        for instance, slots in self.pool.returned.items():
            self.leased[instance.id] -= slots
        self.pool.returned.clear()

    @invariant()
    def no_request_waits_while_a_slot_is_free(self) -> None:
        assert list(self.pool.queue) == self.waiting
        if self.waiting:
            assert not any(i.open and i.in_flight < i.slots for i in self.known)
            assert not any(instance.slots for instance in self.pool.resting)

    @invariant()
    def no_request_is_on_a_frozen_instance(self) -> None:
        assert not any(held in self.frozen for _, held, _ in self.held)
        assert set(self.pool.resting) <= self.frozen
        assert not any(instance.open for instance in (*self.frozen, *self.at_rest))

    @invariant()
    def no_slot_is_free_while_the_node_wants_one(self) -> None:
        if self.pool.recalled:
            assert all(i.in_flight == i.slots for i in self.pool.instances.values())

    @invariant()
    def slots_are_what_was_leased_and_not_given_back(self) -> None:
        for instance in self.known:
            returned = self.pool.returned.get(instance, 0)
            assert instance.slots + returned == self.leased[instance.id]

    @invariant()
    def in_flight_is_exact_and_never_over_the_limit(self) -> None:
        for instance in self.known:
            assert instance.in_flight == sum(held is instance for _, held, _ in self.held)
            assert instance.in_flight <= instance.slots
        assert self.pool.counts.in_flight == len(self.held)
        assert self.pool.counts.queued == len(self.waiting)

    def teardown(self) -> None:
        self.pool.counts.advance(self.now)
        demand = packed = 0
        busy: dict[str, list[tuple[int, int]]] = {instance.id: [] for instance in self.known}
        later = [*self.history[1:], (self.now, {}, 0)]
        for (begin, in_flights, queued), (end, _, _) in zip(self.history, later, strict=False):
            total = sum(in_flights.values())
            demand += (end - begin) * (total + queued)
            packed += (end - begin) * ((total + 1) // 2)
            for name, in_flight in in_flights.items():
                if in_flight and busy[name] and busy[name][-1][1] == begin:
                    busy[name][-1] = (busy[name][-1][0], end)
                elif in_flight:
                    busy[name].append((begin, end))
        assert (self.pool.counts.demand, self.pool.counts.packed) == (demand, packed)
        for instance in self.known:
            assert self.covered(instance) == [s for s in busy[instance.id] if s[0] < s[1]]

    def covered(self, instance: Instance) -> list[tuple[int, int]]:
        """Return the busy stretches as a set of moments: touching ones joined, empty ones left."""
        counts = instance.counts
        stretches = list(counts.busy)
        if counts.busy_since is not None:
            stretches.append((counts.busy_since, self.now))
        joined: list[tuple[int, int]] = []
        for begin, end in stretches:
            if joined and joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((begin, end))
        return [stretch for stretch in joined if stretch[0] < stretch[1]]


PoolAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestPoolAgainstModel = PoolAgainstModel.TestCase
