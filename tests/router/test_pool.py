"""The pool: slots, queue and choice, by examples."""

from __future__ import annotations

import msgspec
import pytest
from tests.router.pools import make_pool

from windlass.model.service import Mode
from windlass.router.levels import Instance
from windlass.router.pool import Reason, Refused

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND


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
