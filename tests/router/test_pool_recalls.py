"""The pool: slots that are leased later, and those that the node recalls."""

from __future__ import annotations

from tests.router.pools import make_pool

from windlass.router.levels import Instance
from windlass.router.link import RevisionRoute
from windlass.router.pool import Pool


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
