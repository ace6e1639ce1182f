from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.autoscaler.decide import (
    Decision,
    Kind,
    Memory,
    Observation,
    Peaks,
    decide,
    highest_within,
    taking_over,
)
from windlass.autoscaler.window import SECOND, Window
from windlass.model.service import Container, Limits, Mode, Scaling, Template

if TYPE_CHECKING:
    from collections.abc import Callable


def template(concurrency: int = 80, mode: Mode = Mode.CLOUDRUN, **scaling: float) -> Template:
    return Template(
        container=Container(image="hello"),
        limits=Limits(concurrency=concurrency),
        scaling=Scaling(**scaling),  # type: ignore[arg-type]  # ints among the floats
        mode=mode,
    )


def steady(average: float, ready: int, now: float = 1000.0) -> Observation:
    """Return what is seen when both windows have the same average."""
    return Observation(
        now=now,
        ready=ready,
        in_flight=round(average),
        stable=average,
        panic=average,
        last_demand=now,
    )


NEW = Memory()


class TestAtOnce:
    def test_from_zero_a_request_starts_an_instance(self) -> None:
        decision = decide(template(), Observation(now=0, queued=1, last_demand=0), NEW)
        assert (decision.desired, decision.kind) == (1, Kind.STARVED)
        assert decision.reason == (
            "1 waiting and 0 in flight on 0 ready and 0 starting, 1 without a slot: "
            "1 more of concurrency 80"
        )

    def test_200_requests_at_concurrency_80_start_three(self) -> None:
        seen = Observation(now=0, queued=200, last_demand=0)
        assert decide(template(), seen, NEW).desired == 3

    def test_starting_instances_are_promised_capacity(self) -> None:
        seen = Observation(now=0, starting=1, queued=80, last_demand=0)
        assert decide(template(), seen, NEW).desired == 1
        assert decide(template(), replace(seen, queued=81), NEW).desired == 2

    def test_a_queue_seen_before_an_instance_became_ready_starts_no_more(self) -> None:
        seen = Observation(now=0, ready=1, starting=2, queued=200, last_demand=0)
        assert decide(template(), seen, NEW).desired == 3

    def test_requests_in_flight_on_draining_instances_start_none(self) -> None:
        seen = Observation(now=0, starting=1, in_flight=80, queued=10, last_demand=0)
        assert decide(template(), seen, NEW).desired == 1


class TestOverTime:
    @pytest.mark.parametrize(
        ("average", "desired"), [(20, 1), (56, 1), (57, 2), (112, 2), (113, 3), (560, 10)]
    )
    def test_instances_are_packed_up_to_the_target(self, average: float, desired: int) -> None:
        assert decide(template(), steady(average, desired), NEW).desired == desired

    def test_the_reason_has_the_numbers(self) -> None:
        decision = decide(template(), steady(120, 3), NEW)
        assert decision.kind is Kind.STABLE
        assert decision.reason == (
            "average of 120.0 requests over 60 s, target 56 per instance (80 x 0.7): 3"
        )

    def test_a_target_above_the_concurrency_is_the_concurrency(self) -> None:
        assert decide(template(10, target=100), steady(14, 2), NEW).desired == 2
        assert decide(template(10, target=5), steady(14, 4), NEW).desired == 4

    def test_a_float_hair_over_a_whole_number_is_that_number(self) -> None:
        assert decide(template(), steady(112.00000001, 2), NEW).desired == 2

    def test_twice_as_many_by_the_panic_window_panics_and_is_held(self) -> None:
        seen = replace(steady(50, 1), panic=300)
        panicking = decide(template(), seen, NEW)
        assert (panicking.desired, panicking.kind) == (6, Kind.PANIC)
        calm = decide(template(), steady(50, 6, now=1030), panicking.memory)
        assert (calm.desired, calm.kind) == (6, Kind.PANIC)
        assert calm.reason.startswith("6 since a surge, held for 60 s after it; now average of 50")
        over = decide(template(), steady(50, 6, now=1061), calm.memory)
        assert (over.desired, over.kind) == (3, Kind.SLOWED)

    def test_at_most_half_go_in_one_tick(self) -> None:
        first = decide(template(), steady(0.1, 20), NEW)
        assert (first.desired, first.kind) == (10, Kind.SLOWED)
        soon = decide(template(), steady(0.1, 10, now=1000.1), first.memory)
        assert soon.desired == 10
        later = decide(template(), steady(0.1, 10, now=1002), soon.memory)
        assert later.desired == 5

    def test_the_scale_up_rate_bounds_what_averages_ask_for(self) -> None:
        assert decide(template(max_scale_up_rate=2), steady(560, 2), NEW).desired == 4

    def test_the_scale_down_delay_holds_the_highest_wish(self) -> None:
        slow = template(scale_down_delay=20)
        high = decide(slow, steady(160, 3), NEW)
        low = decide(slow, steady(20, 3, now=1010), high.memory)
        assert (low.desired, low.kind) == (3, Kind.DELAYED)
        assert decide(slow, steady(20, 3, now=1021), low.memory).desired == 1

    def test_a_new_autoscaler_lets_no_running_instance_go_unseen(self) -> None:
        memory = taking_over(7, 1000)
        held = decide(template(), steady(20, 7), memory)
        assert held.desired == 7
        assert decide(template(), steady(20, 7, now=1061), held.memory).desired == 3


class TestBounds:
    def test_the_minimum_is_kept_warm(self) -> None:
        decision = decide(template(min_instances=2), Observation(now=0), NEW)
        assert (decision.desired, decision.kind) == (2, Kind.MINIMUM)

    def test_the_maximum_is_said_with_what_was_asked_for(self) -> None:
        seen = Observation(now=0, queued=1000, last_demand=0)
        decision = decide(template(max_instances=5), seen, NEW)
        assert (decision.desired, decision.kind) == (5, Kind.MAXIMUM)
        assert decision.reason.startswith("max_instances is 5; 1000 waiting")

    def test_an_unreachable_revision_goes_to_zero_whatever_its_minimum(self) -> None:
        seen = replace(steady(50, 3), reachable=False)
        decision = decide(template(min_instances=2), seen, NEW)
        assert (decision.desired, decision.kind) == (0, Kind.UNREACHABLE)

    def test_an_unreachable_revision_still_serves_who_waits(self) -> None:
        seen = Observation(now=0, queued=3, last_demand=0, reachable=False)
        assert decide(template(), seen, NEW).desired == 1

    def test_a_check_wants_one_instance(self) -> None:
        seen = Observation(now=0, checking=True, reachable=False)
        assert decide(template(), seen, NEW).kind is Kind.CHECKED


class TestLambda:
    serial = template(mode=Mode.LAMBDA)

    def test_each_concurrent_request_has_its_instance_at_once(self) -> None:
        seen = Observation(now=0, ready=3, starting=2, in_flight=3, queued=6, last_demand=0)
        assert decide(self.serial, seen, NEW).desired == 9

    def test_idle_environments_are_kept_for_the_idle_period_then_reaped(self) -> None:
        busy = Observation(now=0, ready=9, in_flight=9, last_demand=0)
        idle = Observation(now=89, ready=9, last_demand=0)
        memory = decide(self.serial, busy, NEW).memory
        kept = decide(self.serial, idle, memory)
        assert (kept.desired, kept.kind) == (9, Kind.KEPT)
        assert kept.reason == "at most 9 requests at once in the last 90 s: 9 kept"
        gone = decide(self.serial, replace(idle, now=90), kept.memory)
        assert (gone.desired, gone.kind) == (0, Kind.NOTHING)

    def test_a_burst_that_is_over_before_its_starts_is_not_made_up_for(self) -> None:
        burst = decide(self.serial, Observation(now=0, queued=70, last_demand=0), NEW)
        assert burst.desired == 70
        after = Observation(now=1, ready=4, starting=4, in_flight=4, last_demand=1)
        assert decide(self.serial, after, burst.memory).desired == 8

    def test_the_maximum_holds(self) -> None:
        seen = Observation(now=0, queued=500, last_demand=0)
        assert decide(self.serial, seen, NEW).desired == 100


@dataclass
class Timeline:
    """A revision under a load, in steps of half a second; demand is always met by who is there."""

    template: Template
    start_seconds: float = 1.0
    now: float = 1000.0
    ready: int = 0
    starting: list[float] = field(default_factory=list)
    memory: Memory = NEW
    decisions: list[Decision] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    started: int = 0
    step: float = 0.5

    def __post_init__(self) -> None:
        self.window = Window(int(self.template.scaling.stable_window * SECOND))

    def run(self, seconds: float, load: Callable[[float], int]) -> Timeline:
        """Go on for some seconds; `load` gives the concurrent requests at a moment of them."""
        begin = self.now
        while self.now < begin + seconds - 1e-9:
            self._advance(load(self.now - begin))
        return self

    def _advance(self, demand: int) -> None:
        self.ready += sum(moment <= self.now for moment in self.starting)
        self.starting = [moment for moment in self.starting if moment > self.now]
        concurrency = 1 if self.template.mode is Mode.LAMBDA else self.template.limits.concurrency
        in_flight = min(demand, self.ready * concurrency)
        at = round(self.now * SECOND)
        self.window.rise(at, demand)
        seen = self._observe(at, in_flight, demand - in_flight)
        decision = decide(self.template, seen, self.memory)
        self.memory = decision.memory
        missing = decision.desired - self.ready - len(self.starting)
        self.starting += [self.now + self.start_seconds] * max(0, missing)
        self.started += max(0, missing)
        self.ready = min(self.ready, max(decision.desired, 0))
        self.decisions.append(decision)
        self.counts.append(self.ready + len(self.starting))
        step = round(self.step * SECOND)
        self.window.report(at, at + step, demand * step, demand)
        self.now += self.step

    def _observe(self, at: int, in_flight: int, queued: int) -> Observation:
        scaling = self.template.scaling
        last = self.window.demand_at(at)
        return Observation(
            now=self.now,
            ready=self.ready,
            starting=len(self.starting),
            in_flight=in_flight,
            queued=queued,
            stable=self.window.average(at, int(scaling.stable_window * SECOND)),
            panic=self.window.average(at, int(scaling.panic_window * SECOND)),
            last_demand=None if last is None else last / SECOND,
        )


def changes(timeline: Timeline) -> list[int]:
    """Return the counts without repetitions."""
    counts = timeline.counts
    return [count for index, count in enumerate(counts) if index == 0 or counts[index - 1] != count]


class TestTimelines:
    def test_a_constant_load_gives_a_constant_count(self) -> None:
        timeline = Timeline(template()).run(200, lambda t: 100)
        assert changes(timeline) == [2]

    def test_a_constant_load_on_slow_starters_is_not_over_provisioned(self) -> None:
        # Knative oscillates here: knative/serving#3153, #10275.
        timeline = Timeline(template(concurrency=10), start_seconds=45).run(300, lambda t: 35)
        assert max(timeline.counts) == 5  # 35 / (10 x 0.7)
        assert timeline.started == 5
        assert set(timeline.counts[240:]) == {5}

    def test_a_load_that_flutters_around_a_boundary_does_not_flap(self) -> None:
        timeline = Timeline(template()).run(300, lambda t: 50 if int(t) % 2 else 100)
        assert changes(timeline) in ([1, 2], [2])

    def test_spikes_that_the_average_hides_keep_what_they_needed(self) -> None:
        timeline = Timeline(template()).run(300, lambda t: 100 if t % 20 < 1 else 10)
        assert set(timeline.counts[20:]) == {2}

    def test_a_surge_is_answered_at_once_and_held_for_the_stable_window(self) -> None:
        timeline = Timeline(template()).run(120, lambda t: 20)
        assert timeline.counts[-1] == 1  # 20 of 56
        timeline.run(0.5, lambda t: 400)
        assert timeline.counts[-1] == 5  # 400 / 80, at once
        assert timeline.decisions[-1].kind is Kind.STARVED
        timeline.run(10, lambda t: 400)
        assert timeline.counts[-1] == 8  # 400 / 56 by the panic window
        timeline.run(55, lambda t: 20)
        assert timeline.counts[-1] == 8  # held
        timeline.run(30, lambda t: 20)
        assert timeline.counts[-1] == 1  # packed again

    def test_back_to_zero_after_the_window_and_the_grace_period(self) -> None:
        timeline = Timeline(template()).run(30, lambda t: 1)
        timeline.run(89.5, lambda t: 0)
        assert (timeline.counts[-1], timeline.decisions[-1].kind) == (1, Kind.KEPT)
        timeline.run(1.5, lambda t: 0)
        assert (timeline.counts[-1], timeline.decisions[-1].kind) == (0, Kind.NOTHING)

    def test_many_go_by_halves_when_the_load_ends(self) -> None:
        timeline = Timeline(template()).run(130, lambda t: 560)
        assert timeline.counts[-1] == 10
        timeline.run(125, lambda t: 0)
        assert timeline.counts[-1] == 0
        falling = changes(timeline)
        falling = falling[falling.index(10) :]
        assert falling == sorted(falling, reverse=True)

    def test_lambda_keeps_as_many_as_were_busy_at_once(self) -> None:
        timeline = Timeline(template(mode=Mode.LAMBDA)).run(60, lambda t: 20)
        assert changes(timeline) == [20]
        timeline.run(89, lambda t: 0)
        assert timeline.counts[-1] == 20
        timeline.run(2, lambda t: 0)
        assert timeline.counts[-1] == 0

    @settings(max_examples=25)
    @given(
        demand=st.integers(1, 2000),
        concurrency=st.integers(1, 200),
        start=st.floats(0, 30),
        mode=st.sampled_from(Mode),
    )
    def test_no_constant_load_flaps(
        self, demand: int, concurrency: int, start: float, mode: Mode
    ) -> None:
        timeline = Timeline(template(concurrency, mode), start_seconds=start, step=2.0)
        timeline.run(240, lambda t: demand)
        seen = changes(timeline)
        assert seen == sorted(seen)  # it only rises,
        assert len(set(timeline.counts[-60:])) == 1  # and then stays


observations = st.builds(
    Observation,
    now=st.floats(1000, 2000),
    ready=st.integers(0, 120),
    starting=st.integers(0, 120),
    in_flight=st.integers(0, 5000),
    queued=st.integers(0, 5000),
    stable=st.floats(0, 10_000),
    panic=st.floats(0, 10_000),
    last_demand=st.none() | st.floats(0, 1000),
    reachable=st.booleans(),
    checking=st.booleans(),
)
memories = st.builds(
    Memory,
    averaged=st.floats(0, 1000),
    panic_since=st.none() | st.floats(0, 1000),
    panic_peak=st.integers(0, 200),
)
templates = st.builds(
    template,
    concurrency=st.integers(1, 1000),
    mode=st.sampled_from(Mode),
    min_instances=st.integers(0, 10),
    max_instances=st.integers(10, 100),
    scale_down_delay=st.sampled_from([0.0, 30.0]),
)


@settings(max_examples=60)
@given(templates, observations, memories)
def test_the_bounds_are_always_kept(asked: Template, seen: Observation, memory: Memory) -> None:
    desired = decide(asked, seen, memory).desired
    assert 0 <= desired <= asked.scaling.max_instances
    assert not seen.reachable or desired >= asked.scaling.min_instances


@settings(max_examples=60)
@given(templates, observations, memories)
def test_never_zero_while_requests_wait_or_run(
    asked: Template, seen: Observation, memory: Memory
) -> None:
    desired = decide(asked, seen, memory).desired
    if seen.queued and not seen.starting * asked.limits.concurrency >= seen.queued:
        assert desired >= 1
    if seen.reachable and (seen.in_flight or seen.queued) and (seen.ready or seen.starting):
        assert desired >= 1


@settings(max_examples=60)
@given(templates, observations, memories, st.integers(0, 500), st.integers(0, 500))
def test_more_requests_never_want_fewer_instances(
    asked: Template, seen: Observation, memory: Memory, waiting: int, running: int
) -> None:
    more = replace(seen, queued=seen.queued + waiting, in_flight=seen.in_flight + running)
    assert decide(asked, more, memory).desired >= decide(asked, seen, memory).desired


@settings(max_examples=60)
@given(templates, observations, memories)
def test_every_decision_has_a_reason(asked: Template, seen: Observation, memory: Memory) -> None:
    assert decide(asked, seen, memory).reason


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50)), max_size=60))
def test_the_highest_within_a_span_is_what_a_plain_search_finds(
    steps: list[tuple[float, int]],
) -> None:
    peaks: Peaks = ()
    now, history = 0.0, []
    for passed, value in steps:
        now += passed
        history.append((now, value))
        peaks, highest = highest_within(peaks, now, value, 20.0)
        assert highest == max(old for moment, old in history if moment > now - 20.0)


class TestRefusedInstances:
    """A budget that is spent, say: whatever the traffic, there is no instance."""

    def test_none_is_wanted_whatever_waits_or_is_the_minimum(self) -> None:
        seen = Observation(now=0, ready=3, in_flight=7, queued=900, last_demand=0, refused="spent")
        decision = decide(template(min_instances=2), seen, NEW)
        assert (decision.desired, decision.kind, decision.reason) == (0, Kind.REFUSED, "spent")

    def test_a_deployment_is_still_checked(self) -> None:
        seen = Observation(now=0, queued=900, refused="spent", checking=True)
        assert decide(template(), seen, NEW).desired == 1
