"""The pool against a naive model, through any sequence of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windlass.router.levels import Instance
from windlass.router.link import RevisionRoute
from windlass.router.pool import Pool, Refused

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND


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
            assert len(self.waiting) == refused.limit  # noqa: PT017  (to be given a slot is right, too)
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
