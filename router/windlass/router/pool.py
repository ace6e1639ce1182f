"""A revision's slots and the queue before them: who gets which slot, first come first served.

The slots are those that the node has leased to this worker. Every operation is O(1) (or O(requests
and slots it moves)) and takes the moment in nanoseconds; connections, clocks and the link are not
known here.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from windlass.model.service import Mode
from windlass.router.levels import Instance, Levels
from windlass.router.retries import RetryBudget
from windlass.router.stats import RevisionCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.router.link import RevisionReport, RevisionRoute

SECOND: Final = 1_000_000_000  # ns
MAX_QUEUE: Final = 10_000  # requests that may wait for one revision, whatever its concurrency
QUEUE_PER_SLOT: Final = 10


class Reason(StrEnum):
    """Why a request was refused a place in the queue."""

    QUEUE_FULL = "queue-full"
    AT_LIMIT = "concurrency-limit"  # lambda mode: as many requests as instances are allowed


class Refused(Exception):
    """The request gets neither a slot nor a place in the queue."""

    def __init__(self, reason: Reason, limit: int) -> None:
        super().__init__(f"{reason}: {limit}")
        self.reason, self.limit = reason, limit


InstanceT = TypeVar("InstanceT", bound=Instance)
TicketT = TypeVar("TicketT")


class Pool(Generic[InstanceT, TicketT]):
    """The ready instances of one revision, and the requests that wait for a slot on them."""

    __slots__ = (
        "_concurrency",
        "_levels",
        "_shut",
        "_warm_since",
        "_workers",
        "ahead",
        "budget",
        "counts",
        "granted",
        "instances",
        "max_body",
        "queue",
        "queue_limit",
        "recalled",
        "resting",
        "returned",
        "route",
        "session_affinity",
        "timeout",
    )

    def __init__(self, route: RevisionRoute, now: int, workers: int = 1) -> None:
        self.counts = RevisionCounts(route.shadow_concurrency, now)
        self.budget = RetryBudget()
        self.instances: dict[str, InstanceT] = {}
        self.queue: OrderedDict[TicketT, int] = OrderedDict()  # ticket -> moment it began to wait
        # Frozen instances, each with what lets it run on: those without a slot in front, the last
        # one frozen at the end.
        self.resting: OrderedDict[InstanceT, Callable[[], None]] = OrderedDict()
        self._concurrency = 1 if route.mode is Mode.LAMBDA else route.concurrency
        self._levels = Levels(self._concurrency)  # the open ones that have a free slot
        self._shut: dict[InstanceT, None] = {}  # those that get no new request at the moment
        self._warm_since = 0  # moment of the last step from no instance to one
        self.granted = 0  # slots, since the node was told what is leased
        # Slots that the node wants back and that were in use; of them, those that go back before
        # anyone who waits here gets one.
        self.recalled = 0
        self.ahead = 0
        self.returned: dict[InstanceT, int] = {}  # slots given back, and not said yet
        self.configure(route, workers)

    def configure(self, route: RevisionRoute, workers: int = 1) -> None:
        """Take new limits. A revision's concurrency is fixed for its life and stays.

        What is allowed to all workers together (an instance's target, the queue) is divided by
        their number; slots are leased as they are needed.
        """
        self.route = route
        self.max_body = route.max_body
        self.session_affinity = route.session_affinity
        self.timeout = int(route.timeout * SECOND)
        self._workers = workers
        self._levels.aim(-(-min(max(route.target, 0), self._concurrency) // workers))
        self._limit_queue()

    def acquire(self, ticket: TicketT, now: int) -> InstanceT | None:
        """Return the instance on which the ticket has a slot now, or None: it waits in the queue.

        The fullest instance below the target is chosen, so that idle ones empty; when there is
        none, the least loaded one.

        Raises:
            Refused: the queue is full.
        """
        instance = self._take(now)
        if instance is None:
            self._wait(ticket, now)
        return instance

    def retry(
        self, ticket: TicketT, since: int, now: int, avoid: InstanceT | None = None
    ) -> InstanceT | None:
        """As acquire, for a ticket that had its slot in vain: it waits at the head.

        The instance to `avoid` is chosen only if no other one has a free slot.
        """
        instance = None
        if avoid is not None and avoid.open and avoid.in_flight < avoid.slots:
            self._levels.leave(avoid)
            instance = self._take(now)
            self._levels.enter(avoid)
        if instance is None:
            instance = self._take(now)
        if instance is None:
            self.counts.advance(now)
            self.counts.queued += 1
            self.queue[ticket] = since
            self.queue.move_to_end(ticket, last=False)
        return instance

    def prefer(self, name: str, now: int) -> InstanceT | None:
        """Return an instance by its name, with a slot on it taken, None: it has none free."""
        instance = self.instances.get(name)
        if instance is not None and instance.slots and instance in self.resting:
            self._wake(instance)
        if instance is None or not instance.open or instance.in_flight >= instance.slots:
            return None
        self._levels.leave(instance)
        self._occupy(instance, now)
        return instance

    def release(self, instance: InstanceT, granted: int, now: int) -> TicketT | None:
        """End a request that had its slot since `granted`; return the ticket that gets the slot."""
        instance.counts.count_request(now - granted)
        return self.give_back(instance, now)

    def give_back(self, instance: InstanceT, now: int) -> TicketT | None:
        """As release, for a request that never reached the instance: it is not counted."""
        counts = self.counts
        counts.advance(now)
        if self.queue and instance.open and not self.ahead:
            counts.queued -= 1
            ticket, since = self.queue.popitem(last=False)
            if since < self._warm_since:
                counts.cold_starts.append(now - since)
            return ticket
        counts.in_flight -= 1
        if instance.open:
            if instance.in_flight < instance.slots:
                self._levels.leave(instance)
            instance.in_flight -= 1
            self._levels.enter(instance)
        else:
            instance.in_flight -= 1
        if self.recalled:
            self._give_up(instance, 1)
        if not instance.in_flight:
            instance.counts.end_busy(now)
        return None

    def add(self, instance: InstanceT, now: int) -> list[TicketT]:
        """Take a ready instance; return the tickets, in their order, that get a slot on it."""
        if not self.instances:
            self._warm_since = now
        instance.added = now
        self.instances[instance.id] = instance
        self._limit_queue()
        return self.open(instance, now)

    def open(self, instance: InstanceT, now: int) -> list[TicketT]:
        """Let a known instance get requests (again); return the tickets that get a slot on it."""
        if instance.open or instance.draining:
            return []
        self.resting.pop(instance, None)
        instance.open = True
        self._shut.pop(instance, None)
        if instance.in_flight < instance.slots:
            self._levels.enter(instance)
        return self._serve_queue(instance, now)

    def rest(self, instance: InstanceT) -> bool:
        """Close the instance so that it can be frozen; False: it is in use, or closed already."""
        if instance.in_flight or not instance.open:
            return False
        self.close(instance)
        return True

    def freeze(self, instance: InstanceT, thaw: Callable[[], None], now: int) -> list[TicketT]:
        """Take it that an instance at rest is frozen; `thaw` is called when a request needs it.

        That is now if requests wait: the tickets are returned that get a slot on it.
        """
        if self.queue and instance.slots:
            thaw()
            return self.open(instance, now)
        self.resting[instance] = thaw
        self.resting.move_to_end(instance, last=bool(instance.slots))
        return []

    def close(self, instance: InstanceT) -> None:
        """Give the instance no new request; those it has go on."""
        self.resting.pop(instance, None)
        if instance.open:
            if instance.in_flight < instance.slots:
                self._levels.leave(instance)
            instance.open = False
            self._shut[instance] = None

    def drain(self, instance: InstanceT) -> None:
        """Close the instance for good."""
        self.close(instance)
        instance.draining = True

    def remove(self, instance: InstanceT) -> None:
        """Forget an instance; what is still in flight there is released as ever."""
        self.drain(instance)
        self._shut.pop(instance, None)
        self.instances.pop(instance.id, None)
        self._limit_queue()

    def lease(self, instance: InstanceT, slots: int, now: int) -> list[TicketT]:
        """Take so many more slots of an instance; return the tickets that get one of them."""
        self.granted += slots
        was_full = instance.in_flight == instance.slots
        instance.slots += slots
        if instance.open and was_full and slots:
            self._levels.enter(instance)
            return self._serve_queue(instance, now)
        tickets: list[TicketT] = []
        if instance in self.resting and slots:
            tickets = self.freeze(instance, self.resting.pop(instance), now)
        if self.recalled:
            self._give_up(instance, slots)
        return tickets

    def recall(self, slots: int, ahead: int) -> None:
        """Give back so many slots: those that are free now, the others when nobody waits for them.

        The first `ahead` of them go back even before those who wait here. Of an instance's free
        slots half go along, so that the one who asks need not ask for each.
        """
        self.recalled += slots
        # Less is owed than the node thinks where slots are on their way to it.
        self.ahead = min(self.ahead + ahead, self.recalled)
        # From the fullest first, so that idle ones stay idle at the other workers, too.
        while self.recalled and (fullest := self._levels.fullest()) is not None:
            free = fullest.slots - fullest.in_flight
            self._give_up(cast("InstanceT", fullest), max(self.recalled, (free + 1) // 2))
        if self.recalled:
            for instance in self._shut:
                self._give_up(instance, self.recalled)

    def keep_leases(self) -> None:
        """Give nothing back: the node is away, and asks again when it is back."""
        self.recalled = self.ahead = self.granted = 0
        self.returned.clear()

    def cancel(self, ticket: TicketT, now: int) -> None:
        """Take a ticket out of the queue: its client is gone."""
        if ticket in self.queue:
            self.counts.advance(now)
            self.counts.queued -= 1
            del self.queue[ticket]

    def expire(self, now: int) -> list[TicketT]:
        """Take out and return the tickets that have waited as long as the route allows."""
        latest = now - int(self.route.queue_wait * SECOND)
        expired = []
        while self.queue and next(iter(self.queue.values())) <= latest:
            expired.append(self._pop_waiting(now))
        return expired

    def dismiss(self, now: int, count: int) -> list[TicketT]:
        """Take out and return so many of the waiting tickets, those that came last."""
        waiting = min(count, len(self.queue))
        return [self._pop_waiting(now, last=True) for _ in range(waiting)][::-1]

    def report(self, now: int) -> RevisionReport | None:
        """Return what happened since the last report, None if nothing did."""
        return self.counts.report(self.route.name, now)

    def _take(self, now: int) -> InstanceT | None:
        if self.resting and not self._levels.has_room():
            # Then one at rest is the best, as it would be if it were not frozen.
            last = next(reversed(self.resting))
            if last.slots:
                self._wake(last)
        chosen = self._levels.choose()
        if chosen is None:
            return None
        instance = cast("InstanceT", chosen)
        self._levels.leave(instance)
        self._occupy(instance, now)
        return instance

    def _wake(self, instance: InstanceT) -> None:
        """Thaw and open an instance with a free slot while nobody waits."""
        self.resting.pop(instance)()
        self._shut.pop(instance, None)
        instance.open = True
        self._levels.enter(instance)

    def _serve_queue(self, instance: InstanceT, now: int) -> list[TicketT]:
        """Give an open instance's free slots to those who wait, then to the node if it asks."""
        tickets = []
        while self.queue and instance.in_flight < instance.slots:
            self._levels.leave(instance)
            ticket, since = self.queue.popitem(last=False)
            self._occupy(instance, now)
            self.counts.queued -= 1
            if since < instance.added or since < self._warm_since:
                self.counts.cold_starts.append(now - since)
            tickets.append(ticket)
        if self.recalled:
            self._give_up(instance, self.recalled)
        return tickets

    def _give_up(self, instance: InstanceT, most: int) -> None:
        """Lower the lease of an instance by what is free, at most; the node is to be told."""
        slots = min(most, instance.slots - instance.in_flight)
        if slots:
            instance.slots -= slots
            if instance.open and instance.in_flight == instance.slots:
                self._levels.leave(instance)
            if not instance.slots and instance in self.resting:
                self.resting.move_to_end(instance, last=False)
            self.returned[instance] = self.returned.get(instance, 0) + slots
            self.recalled = max(self.recalled - slots, 0)
            self.ahead = max(self.ahead - slots, 0)

    def _wait(self, ticket: TicketT, now: int) -> None:
        counts = self.counts
        if self.route.mode is Mode.LAMBDA:
            if counts.in_flight + len(self.queue) >= self.route.max_instances:
                raise Refused(Reason.AT_LIMIT, self.route.max_instances)
        elif len(self.queue) >= self.queue_limit:
            raise Refused(Reason.QUEUE_FULL, self.queue_limit)
        counts.advance(now)
        counts.queued += 1
        self.queue[ticket] = now

    def _pop_waiting(self, now: int, *, last: bool = False) -> TicketT:
        self.counts.advance(now)
        self.counts.queued -= 1
        return self.queue.popitem(last)[0]

    def _occupy(self, instance: InstanceT, now: int) -> None:
        """Give a slot of an open instance that is on no level, and put it on its level."""
        counts = self.counts
        counts.advance(now)
        counts.in_flight = in_flight = counts.in_flight + 1
        if in_flight > counts.max_in_flight:
            counts.max_in_flight = in_flight
        if not instance.in_flight:
            instance.counts.begin_busy(now)
        instance.in_flight += 1
        if instance.in_flight < instance.slots:
            self._levels.enter(instance)

    def _limit_queue(self) -> None:
        # From zero, the queue must hold what the revision may grow to serve at once.
        instances = max(QUEUE_PER_SLOT * max(len(self.instances), 1), self.route.max_instances)
        limit = min(self._concurrency * instances, MAX_QUEUE)
        self.queue_limit = -(-limit // self._workers)
