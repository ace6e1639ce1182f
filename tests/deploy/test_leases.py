"""Leases: by examples, and in the model of them with pools and links."""

from __future__ import annotations

from hypothesis import settings
from tests.deploy.shared_slots import R, SharedSlots

from windlass.deploy.leases import Grant, Instruction, Lack, Leases, Level, Recall, Refuse


def leases_of(*workers: str) -> Leases:
    leases = Leases()
    for worker in workers:
        assert leases.join(worker, {}) == []
    return leases


def answer(
    leases: Leases, worker: str, *slots: tuple[str, int], queued: int = 0, in_flight: int = 0
) -> list[Instruction]:
    level = Level(in_flight, queued)
    return leases.returned(worker, R, slots, level, 1000, answer=True)


def test_one_worker_has_all_slots_at_once() -> None:
    assert leases_of("w1").serve("a", R, 80) == [Grant("w1", "a", 80)]


def test_workers_have_equal_parts_of_what_nobody_waits_for() -> None:
    leases = leases_of("w1", "w2", "w3")
    assert leases.serve("a", R, 7) == [
        Grant("w1", "a", 3),
        Grant("w2", "a", 3),
        Grant("w3", "a", 1),
    ]


def test_a_single_slot_goes_to_who_has_the_fewest() -> None:
    leases = leases_of("w1", "w2")
    granted = [leases.serve(name, R, 1) for name in ("a", "b", "c")]
    assert granted == [[Grant("w1", "a", 1)], [Grant("w2", "b", 1)], [Grant("w1", "c", 1)]]


def test_those_who_wait_come_first_and_the_longest_waiting_before_others() -> None:
    leases = leases_of("w1", "w2")
    assert leases.starved("w2", R, Level(0, 2), 0) == [Lack(R)]
    assert leases.starved("w1", R, Level(0, 2), 0) == [Lack(R)]
    instructions = leases.serve("a", R, 3)
    assert instructions[:2] == [Grant("w2", "a", 2), Grant("w1", "a", 1)]
    assert leases.level(R) == Level(3, 0)  # one waits, but w2 is asked first
    assert instructions[2:] == [Recall("w2", R, 1, 0)]
    assert answer(leases, "w2", in_flight=2) == [Lack(R)]
    assert leases.level(R) == Level(3, 1)


def test_slots_free_elsewhere_are_sought_before_more_instances() -> None:
    leases = leases_of("w1", "w2")
    leases.serve("a", R, 2)
    assert leases.starved("w1", R, Level(1, 1), 1) == [Recall("w2", R, 1, 0)]
    assert leases.level(R) == Level(1, 0)
    assert answer(leases, "w2", ("a", 1)) == [Grant("w1", "a", 1)]
    assert leases.level(R) == Level(2, 0)


def test_an_answer_that_brings_nothing_leaves_more_instances_as_the_only_way() -> None:
    leases = leases_of("w1", "w2")
    leases.serve("a", R, 2)
    leases.starved("w1", R, Level(1, 1), 1)
    assert answer(leases, "w2", in_flight=1) == [Lack(R)]
    assert leases.level(R) == Level(2, 1)
    freed = leases.returned("w2", R, [("a", 1)], Level(0, 0), 1, answer=False)
    assert freed == [Grant("w1", "a", 1)]


def test_a_worker_that_does_not_answer_is_waited_for_no_longer() -> None:
    leases = leases_of("w1", "w2")
    leases.serve("a", R, 2)
    leases.starved("w1", R, Level(1, 1), 1)
    assert leases.wait_no_more(R) == [Lack(R)]
    assert leases.wait_no_more(R) == []


def test_a_message_that_crossed_a_grant_does_not_ask_twice() -> None:
    leases = leases_of("w1")
    leases.starved("w1", R, Level(0, 1), 0)
    assert leases.serve("a", R, 1) == [Grant("w1", "a", 1)]
    assert leases.starved("w1", R, Level(0, 2), 0) == [Lack(R)]  # said before the slot came
    assert leases.level(R) == Level(1, 1)


def test_a_message_that_crossed_the_first_grant_after_zero_does_not_ask_twice() -> None:
    leases = leases_of("w1")
    leases.serve("a", R, 1)
    leases.remove("a")
    assert leases.starved("w1", R, Level(0, 1), 1) == [Lack(R)]
    assert leases.serve("b", R, 1) == [Grant("w1", "b", 1)]
    assert leases.starved("w1", R, Level(0, 1), 1) == []  # said before the slot came
    assert leases.level(R) == Level(1, 0)


def test_where_all_wait_the_one_below_its_part_gets_slots_ahead() -> None:
    leases = leases_of("w1")
    leases.serve("a", R, 10)
    leases.join("w2", {})
    assert leases.starved("w1", R, Level(10, 20), 10) == [Lack(R)]
    assert leases.starved("w2", R, Level(0, 20), 0) == [Recall("w1", R, 10, 5)]


def test_the_last_slot_of_all_is_passed_on_before_the_queue_of_its_worker() -> None:
    leases = leases_of("w1")
    leases.serve("a", R, 1)
    leases.join("w2", {})
    leases.starved("w1", R, Level(1, 5), 1)
    assert leases.starved("w2", R, Level(0, 1), 0) == [Recall("w1", R, 1, 1)]


def test_a_worker_that_is_to_end_is_asked_for_all_and_served_while_it_lasts() -> None:
    leases = leases_of("w1")
    leases.serve("a", R, 4)
    leases.join("w2", {})
    assert leases.retire("w1") == [Recall("w1", R, 4, 0)]
    assert answer(leases, "w1", ("a", 3), in_flight=1) == [Grant("w2", "a", 3)]
    assert leases.starved("w1", R, Level(1, 1), 4) == [Recall("w2", R, 1, 0)]
    assert answer(leases, "w2", ("a", 2)) == [
        Grant("w1", "a", 1),
        Grant("w2", "a", 1),
        Recall("w1", R, 1, 0),
    ]


def test_a_dead_workers_slots_are_free_only_when_it_is_gone() -> None:
    leases = leases_of("w1", "w2")
    leases.serve("a", R, 2)
    assert leases.unlink("w2") == []
    assert leases.starved("w1", R, Level(1, 1), 1) == [Lack(R)]
    assert leases.leave("w2") == [Grant("w1", "a", 1)]


def test_a_new_node_grants_nothing_before_all_have_spoken() -> None:
    leases = Leases()
    leases.expect(["w1", "w2"])
    assert leases.serve("a", R, 4) == []
    assert leases.join("w1", {"a": 1}) == []
    assert leases.starved("w1", R, Level(1, 1), 0) == []
    assert leases.join("w2", {"a": 2}) == [Grant("w1", "a", 1)]


def test_a_revision_that_is_made_again_is_granted_slots_from_zero() -> None:
    leases = leases_of("w1")
    leases.serve("a", R, 80)
    leases.remove("a")
    leases.forget(R)  # the worker forgets it too, and what it was granted
    assert leases.serve("b", R, 1) == [Grant("w1", "b", 1)]
    assert Lack(R) in leases.starved("w1", R, Level(1, 1), 1)
    assert leases.level(R) == Level(1, 1)


def test_nothing_is_kept_of_revisions_that_come_and_go() -> None:
    leases = leases_of("w1", "w2")
    for number in range(100):
        revision = f"hello-{number:05}"
        leases.serve("a", revision, 80)
        leases.seen("w1", revision, Level(3, 0))
        leases.remove("a")
        leases.forget(revision)
    assert leases._revisions == {}


def test_slots_of_an_instance_that_serves_only_later_are_not_granted_twice() -> None:
    leases = Leases()
    leases.join("w1", {"a": 2})
    assert leases.serve("a", R, 3) == [Grant("w1", "a", 1)]


def test_the_last_who_came_are_refused_first() -> None:
    leases = leases_of("w1", "w2")
    leases.starved("w1", R, Level(0, 3), 0)
    leases.starved("w2", R, Level(0, 1), 0)
    assert leases.refuse(R, 2) == [Refuse("w2", R, 1), Refuse("w1", R, 1)]
    assert leases.level(R) == Level(0, 2)


def test_slots_of_a_frozen_instance_come_from_whom_it_rests_at_too() -> None:
    """The first worker needs more than its part: it alone thaws, on what the second one has."""
    shared = SharedSlots()
    shared.worker_starts()
    shared.worker_starts()
    shared.instance_ready(4)
    shared.all_settles()
    shared.tell_all(("rest", "i3"))
    shared.all_settles()
    first, second = shared.workers
    assert [instance.id for instance in first.pool.resting] == ["i3"]
    shared.ask_for(first, 2)
    assert not first.pool.resting, "its own slots are enough to thaw it"
    shared.ask_for(first, 2)
    assert second.pool.resting, "it has not heard of the thaw"
    shared.all_settles()
    assert len(first.held) == 4
    assert not second.pool.resting


SharedSlots.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
TestSharedSlots = SharedSlots.TestCase
