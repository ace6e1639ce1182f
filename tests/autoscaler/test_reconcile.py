from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.autoscaler.reconcile import (
    Backoff,
    DrainInstance,
    StartInstance,
    StopInstance,
    after_failure,
    reconcile,
)
from windlass.model.instance import Instance, State


def instance(number: int, state: State) -> Instance:
    return Instance(
        id=f"hello-{number}", revision="hello", service="hello", state=state, started=number
    )


def fleet(*states: State) -> list[Instance]:
    return [instance(number, state) for number, state in enumerate(states)]


READY, STARTING, DRAINING = State.READY, State.STARTING, State.DRAINING


def test_what_is_missing_is_started() -> None:
    assert reconcile(3, "busy", fleet(READY, STARTING), {}, 4) == [StartInstance("busy")]


def test_a_draining_instance_is_no_capacity() -> None:
    assert reconcile(1, "busy", fleet(DRAINING), {}, 4) == [StartInstance("busy")]


def test_no_more_is_started_than_the_runtime_takes_on() -> None:
    assert len(reconcile(100, "busy", [], {}, 4)) == 4
    assert reconcile(100, "busy", [], {}, 0) == []


def test_idle_instances_go_first_then_the_newest_of_those_with_least_to_do() -> None:
    drained = reconcile(
        1,
        "calm",
        fleet(READY, READY, READY, READY),
        {"hello-0": 0, "hello-1": 2, "hello-2": 2, "hello-3": 5},
        4,
    )
    assert drained == [
        DrainInstance("hello-0", "calm"),
        DrainInstance("hello-2", "calm"),
        DrainInstance("hello-1", "calm"),
    ]


def test_a_starting_instance_that_is_not_wanted_becomes_ready() -> None:
    assert reconcile(0, "calm", fleet(STARTING), {}, 4) == []


def test_a_ready_instance_stays_while_its_replacement_still_starts() -> None:
    assert reconcile(1, "calm", fleet(READY, STARTING), {}, 4) == []


def test_a_removed_revision_stops_what_starts_and_drains_what_is_ready() -> None:
    assert reconcile(5, "gone", fleet(READY, STARTING, DRAINING), {}, 4, removed=True) == [
        DrainInstance("hello-0", "gone"),
        StopInstance("hello-1", "gone"),
    ]


def test_pauses_after_failures_double_up_to_a_minute() -> None:
    backoff, now, pauses = Backoff(), 100.0, []
    for _ in range(9):
        backoff = after_failure(backoff, now, now, "exit code 1")
        pauses.append(backoff.retry_at - now)
        now = backoff.retry_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_starts_that_fail_together_count_once() -> None:
    backoff = after_failure(Backoff(), 10.0, 12.0, "one")
    assert after_failure(backoff, 10.5, 12.1, "two") == backoff
    assert after_failure(backoff, 13.0, 13.5, "three").failures == 2


def test_a_failure_long_after_the_last_is_a_first_one() -> None:
    backoff = after_failure(Backoff(5, 100.0, 116.0, "old"), 990.0, 1000.0, "new")
    assert (backoff.failures, backoff.retry_at) == (1, 1001.0)


states = st.lists(st.sampled_from(list(State)), max_size=30)
loads = st.lists(st.integers(0, 80), min_size=30, max_size=30)


@given(states, loads, st.integers(0, 40), st.integers(0, 10))
def test_never_over_the_wanted_number_and_never_drained_below_it(
    states: list[State], loads: list[int], desired: int, free: int
) -> None:
    instances = fleet(*states)
    in_flight = {f"hello-{number}": load for number, load in enumerate(loads)}
    instructions = reconcile(desired, "", instances, in_flight, free)
    started = sum(isinstance(each, StartInstance) for each in instructions)
    drained = [each.instance for each in instructions if isinstance(each, DrainInstance)]
    ready, starting = states.count(READY), states.count(STARTING)
    assert started <= free
    assert not started or ready + starting + started <= desired
    assert not drained or ready - len(drained) == desired
    assert not (started and drained)
    assert len(set(drained)) == len(drained)
    assert all(states[int(name.split("-")[1])] is READY for name in drained)


@given(states, loads, st.integers(0, 40))
def test_performing_the_instructions_leaves_nothing_to_do(
    states: list[State], loads: list[int], desired: int
) -> None:
    instances = fleet(*states)
    in_flight = {f"hello-{number}": load for number, load in enumerate(loads)}
    for each in reconcile(desired, "", instances, in_flight, 100):
        if isinstance(each, StartInstance):
            instances.append(instance(len(instances), STARTING))
        elif isinstance(each, DrainInstance):
            number = int(each.instance.split("-")[1])
            instances[number] = instance(number, DRAINING)
    assert reconcile(desired, "", instances, in_flight, 100) == []


def test_the_first_crash_of_an_instance_that_was_ready_costs_no_pause_the_second_does() -> None:
    backoff = after_failure(Backoff(), 10.0, 12.0, "exit code 1", was_ready=True)
    assert (backoff.failures, backoff.retry_at) == (1, 12.0)
    assert after_failure(backoff, 12.5, 13.0, "exit code 1", was_ready=True).retry_at == 15.0
