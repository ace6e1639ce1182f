"""The meter: what it books is what the raw edges say, however they reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.platform.meter_rig import (
    MILLISECOND,
    YEAR_2026,
    Stretch,
    a_revision,
    an_instance,
    meter_of,
    summed,
    tell,
)

from windlass.billing.bill import bill
from windlass.billing.book import load_books
from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.minutes import MINUTE, SECOND
from windlass.billing.rows import Amounts, Batch
from windlass.billing.slices import union
from windlass.model.instance import Instance, State
from windlass.model.service import Mode, Revision

BOOKS = load_books()


@dataclass
class Router:
    """A worker that reports the stretches it was given, and again until they are acknowledged."""

    name: str
    busy: list[Stretch]
    sequence: int = 0
    seen: int = 0  # moment up to which stretches are reported
    kept: list[tuple[int, int, list[Stretch], int | None]] = field(default_factory=list)

    def report(self, now: int) -> None:
        closed = [(begin, end) for begin, end in self.busy if self.seen < end <= now]
        open_since = next((begin for begin, end in self.busy if begin < now < end), None)
        self.seen = now
        if closed or open_since is not None:
            self.sequence += 1
            self.kept.append((self.sequence, now, closed, open_since))

    def tell(self, meter: Meter, instance: str) -> None:
        for sequence, end, closed, open_since in self.kept:
            if meter.take_report(self.name, sequence, end):
                meter.count_instance(
                    self.name,
                    instance,
                    requests=len(closed),
                    invocation_milliseconds=sum(_milliseconds(*stretch) for stretch in closed),
                    busy=closed,
                    busy_since=open_since,
                )
                meter.count_revision(self.name, "shop-00001", packed=7, cold_starts=1)

    def acknowledge(self, batch: Batch) -> None:
        if mark := batch.marks.get(self.name):
            self.kept = [report for report in self.kept if report[0] > mark.sequence]


def _milliseconds(begin: int, end: int) -> int:
    return -(-(end - begin) // MILLISECOND)


def _stretches(horizon: int) -> st.SearchStrategy[list[Stretch]]:
    """Stretches of one worker: disjoint, in order, some of them touching the one before."""
    edges = st.lists(st.integers(0, horizon), max_size=24, unique=True).map(sorted)
    return edges.map(lambda found: list(zip(found[::2], found[1::2], strict=False)))


HORIZON = 40 * SECOND


@st.composite
def _lives(draw: st.DrawFn) -> Instance:
    started, ready, stopping, ended = sorted(
        draw(st.lists(st.integers(0, HORIZON), min_size=4, max_size=4, unique=True))
    )
    kind = draw(st.sampled_from(["stopped", "failed", "never ready"]))
    if kind == "never ready":
        return an_instance(started=started, ended=ended, state=State.FAILED)
    if kind == "failed":
        return an_instance(started=started, ready=ready, ended=ended, state=State.FAILED)
    return an_instance(
        started=started, ready=ready, stopping=stopping, ended=ended, state=State.STOPPED
    )


def _as_of(instance: Instance, now: int) -> Instance:
    """Return what was known of the instance at a moment."""
    known = {
        name: moment
        for name in ("started", "ready", "stopping", "ended")
        if (moment := getattr(instance, name)) is not None and moment <= now
    }
    return an_instance(**known)


@dataclass
class Run:
    """A platform in virtual time: ticks at which things are told, flushes, and crashes."""

    instance: Instance
    routers: list[Router]
    revision: Revision = field(default_factory=a_revision)
    ledger: Ledger = field(default_factory=lambda: Ledger(Path(":memory:"), boot="one"))
    forgotten: bool = False  # the ledger keeps no state of the instance any more

    def play(self, ticks: list[int], flushes: set[int], crashes: set[int]) -> None:
        meter = self._meter(0)
        told = None
        for now in [*ticks, *range(HORIZON, HORIZON + 25 * SECOND, SECOND)]:
            if now in crashes:  # what is told from here on to the next tick is lost
                meter, told = self._meter(now), None
            known = _as_of(self.instance, now) if self.instance.started <= now else None
            if known is not None and known != told and not self.forgotten:
                meter.changed(known)
                told = known
            for router in self.routers:
                router.report(now)
                router.tell(meter, self.instance.id)
            if now in flushes or now >= HORIZON:
                batch = meter.flush(now, YEAR_2026)
                if now - 1 in crashes:  # killed before it was written
                    meter, told = self._meter(now), None
                    continue
                self.ledger.append(batch)
                self.forgotten |= batch.states.get(self.instance.id, b"") is None
                for router in self.routers:
                    router.acknowledge(batch)
        assert meter.late == 0

    def _meter(self, now: int) -> Meter:
        return Meter({self.revision.name: self.revision}, now, YEAR_2026, self.ledger.load())

    def amounts(self) -> Amounts:
        return self.ledger.usage(0, 4e9).total()


def _naive(instance: Instance, busy: list[Stretch]) -> tuple[int, int]:
    """Return billable ns as they are, and each stretch rounded up to 100 ms, from raw edges."""
    assert instance.ended is not None
    if instance.ready is None:
        billed = [(instance.started, instance.ended)]
    else:
        stopping = instance.ended if instance.stopping is None else instance.stopping
        inside = [(max(b, instance.ready), min(e, stopping)) for b, e in busy]
        billed = [
            (instance.started, instance.ready),
            *(stretch for stretch in inside if stretch[0] < stretch[1]),
            (stopping, instance.ended),
        ]
    joined = union(billed, 0, 1 << 62)
    plain = sum(end - begin for begin, end in joined)
    grain = 100 * MILLISECOND
    return plain, sum(-(-(end - begin) // grain) * grain for begin, end in joined)


@st.composite
def _runs(draw: st.DrawFn, workers: int) -> tuple[Run, list[int], set[int], set[int]]:
    instance = draw(_lives())
    served = (instance.started, instance.ended or HORIZON)
    routers = [
        Router(f"worker-{n}", union(draw(_stretches(HORIZON)), *served)) for n in range(workers)
    ]
    run = Run(instance, routers)
    every = draw(st.integers(SECOND // 2, 3 * SECOND // 2))
    ticks = list(range(0, HORIZON, every))
    flushes = set(draw(st.lists(st.sampled_from(ticks), max_size=30)))
    crashes = set(draw(st.lists(st.sampled_from(ticks), max_size=5)))
    crashes |= {tick - 1 for tick in draw(st.lists(st.sampled_from(ticks), max_size=3))}
    return run, ticks, flushes, crashes


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(drawn=st.integers(1, 2).flatmap(_runs))
def test_the_bill_is_the_naive_one_to_the_last_digit_through_flushes_and_crashes(
    drawn: tuple[Run, list[int], set[int], set[int]],
) -> None:
    run, ticks, flushes, crashes = drawn
    run.play(ticks, flushes, crashes)
    busy = [stretch for router in run.routers for stretch in router.busy]
    plain, rounded = _naive(run.instance, busy)
    amounts = run.amounts()
    assert amounts.startup + amounts.busy + amounts.shutdown == plain
    assert plain + amounts.rounding_100ms == rounded
    assert run.instance.ended is not None
    lived = run.instance.ended - run.instance.started
    assert plain + amounts.idle == lived
    requests = len(busy)
    assert amounts.requests == requests
    assert amounts.invocation_milliseconds == sum(_milliseconds(*stretch) for stretch in busy)
    written = bill(run.ledger.usage(0, 4e9), BOOKS["cloud-run-request-tier1"])
    seconds = Fraction(rounded, SECOND)
    expected = seconds * Fraction(13, 10) * Fraction("0.000024")
    expected += seconds * Fraction(700, 1024) * Fraction("0.0000025")
    expected += requests * Fraction("0.4") / 1_000_000
    assert Fraction(written.total) == expected


def test_an_open_slice_counts_up_to_now_and_is_rounded_when_it_ends() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0))
    assert summed(meter.flush(SECOND // 4, YEAR_2026)) == Amounts(startup=SECOND // 4)
    meter.changed(an_instance(started=0, ready=SECOND // 4 + 1))
    later = summed(meter.flush(SECOND, YEAR_2026))
    assert (later.startup, later.idle) == (1, 3 * SECOND // 4 - 1)
    assert later.rounding_100ms == 50 * MILLISECOND - 1
    assert later.rounding_1s == 750 * MILLISECOND - 1


def test_a_slice_that_outlasts_many_flushes_is_rounded_once() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    total = Amounts()
    for now in range(SECOND, 30 * SECOND, SECOND):
        tell(meter, now, since=123)
        total += summed(meter.flush(now + 7, YEAR_2026))
    assert (total.busy, total.rounding_100ms) == (29 * SECOND + 7 - 123, 0)
    tell(meter, 30 * SECOND, busy=[(123, 30 * SECOND)])
    total += summed(meter.flush(31 * SECOND, YEAR_2026))
    assert (total.busy, total.rounding_100ms) == (30 * SECOND - 123, 123)


def test_what_workers_kept_while_the_platform_was_down_is_billed() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    tell(meter, SECOND, since=SECOND // 2)
    ledger.append(meter.flush(SECOND, YEAR_2026))
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))  # before the workers are back
    tell(meter, 60 * SECOND, requests=1, busy=[(SECOND // 2, 40 * SECOND)])
    ledger.append(meter.flush(62 * SECOND, YEAR_2026))
    total = ledger.usage(0, 4e9).total()
    assert (total.busy, total.idle, meter.late) == (39 * SECOND + SECOND // 2, 45 * SECOND // 2, 0)


def test_each_minute_holds_as_much_as_the_instance_lived_in_it() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=SECOND))
    rows = meter.flush(100 * SECOND, YEAR_2026).instance_minutes
    first = YEAR_2026 // MINUTE
    lived = {minute - first: a.startup + a.idle for (_, minute), a in rows.items()}
    assert lived == {0: 30 * SECOND, 1: 60 * SECOND, 2: 10 * SECOND}


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(-SECOND, id="a leap second is repeated"),
        pytest.param(3600 * SECOND, id="somebody sets the clock an hour ahead"),
        pytest.param(-90 * 24 * 3600 * SECOND, id="it is set back by a season"),
    ],
)
def test_a_step_of_the_wall_clock_neither_adds_nor_takes_a_nanosecond(step: int) -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=SECOND))
    for now in range(SECOND, 100 * SECOND, SECOND):
        offset = YEAR_2026 + (step if now >= 50 * SECOND else 0)
        tell(meter, now, requests=1, busy=[(now - SECOND // 4, now)] if now > SECOND else [])
        ledger.append(meter.flush(now, offset))
    total = ledger.usage(0, 4e9).total()
    assert (total.startup, total.busy) == (SECOND, 98 * SECOND // 4)
    assert total.idle == 98 * SECOND - total.busy
    assert total.requests == 99


def test_a_report_that_comes_twice_counts_once() -> None:
    meter = meter_of(a_revision())
    assert meter.take_report("worker-1", 1, SECOND)
    assert not meter.take_report("worker-1", 1, SECOND)
    assert meter.take_report("worker-2", 1, SECOND)


def test_a_stretch_that_was_booked_as_idle_becomes_busy_when_it_is_reported() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    meter.flush(3 * SECOND, YEAR_2026)
    tell(meter, 4 * SECOND, busy=[(2 * SECOND, 5 * SECOND // 2)])
    change = summed(meter.flush(4 * SECOND, YEAR_2026))
    assert (change.busy, change.idle) == (SECOND // 2, SECOND // 2)


def test_what_comes_too_late_is_not_billed_but_known() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    meter.flush(60 * SECOND, YEAR_2026)
    tell(meter, 60 * SECOND, requests=3, busy=[(SECOND, 2 * SECOND)])
    change = summed(meter.flush(60 * SECOND, YEAR_2026))
    assert (change.busy, change.requests, meter.late) == (0, 3, SECOND)


def test_an_environment_that_was_never_invoked_pays_for_its_start() -> None:
    meter = meter_of(a_revision(Mode.LAMBDA))
    ready = 100 * MILLISECOND + 1
    meter.changed(an_instance(started=0, ready=ready, stopping=SECOND, ended=SECOND))
    assert summed(meter.flush(2 * SECOND, YEAR_2026)).invocation_milliseconds == 101
    tell(meter, SECOND, requests=1)  # heard of after the end: the start is billed with it
    assert summed(meter.flush(3 * SECOND, YEAR_2026)).invocation_milliseconds == 10


def test_the_start_is_billed_with_the_first_invocation_before_it_is_rounded() -> None:
    meter = meter_of(a_revision(Mode.LAMBDA))
    meter.changed(an_instance(started=0, ready=400_000))  # ns
    tell(meter, SECOND, requests=1, first_duration=9_300_000)  # rounded up to 10 ms
    tell(meter, 2 * SECOND, requests=1, first_duration=9_300_000)
    assert summed(meter.flush(3 * SECOND, YEAR_2026)).invocation_milliseconds == 10 + 10
    other = meter_of(a_revision(Mode.LAMBDA))
    other.changed(an_instance(started=0, ready=2_700_001))
    tell(other, SECOND, requests=1, first_duration=9_300_000)
    assert summed(other.flush(3 * SECOND, YEAR_2026)).invocation_milliseconds == 13


@pytest.mark.parametrize("restarted", [False, True])
def test_a_start_is_billed_once_however_many_workers_serve_an_environment(restarted: bool) -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision(Mode.LAMBDA))
    meter.changed(an_instance(started=0, ready=100 * MILLISECOND))
    tell(meter, SECOND, requests=1, worker="worker-1.a")
    ledger.append(meter.flush(SECOND, YEAR_2026))
    if restarted:
        meter = meter_of(a_revision(Mode.LAMBDA), ledger.load(), now=2 * SECOND)
    tell(meter, 3 * SECOND, requests=1, worker="worker-1.b")
    ledger.append(meter.flush(3 * SECOND, YEAR_2026))
    assert ledger.usage(0, 4e9).total().invocation_milliseconds == 100 + 10 + 10


def test_a_shared_instances_start_is_no_part_of_a_duration() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=100 * MILLISECOND))
    tell(meter, SECOND, requests=1)
    assert summed(meter.flush(SECOND, YEAR_2026)).invocation_milliseconds == 10


def test_the_minimum_holds_the_oldest_and_then_the_next() -> None:
    meter = meter_of(a_revision(minimum=1))
    meter.changed(an_instance("a", started=0, ready=0))
    meter.changed(an_instance("b", started=1, ready=1))
    rows = meter.flush(10 * SECOND, YEAR_2026).instance_minutes
    assert {name: amounts.warm for (name, _), amounts in rows.items()} == {
        "a": 10 * SECOND,
        "b": 0,
    }
    gone = {"stopping": 10 * SECOND, "ended": 10 * SECOND}
    meter.changed(an_instance("a", started=0, ready=0, **gone))
    rows = meter.flush(15 * SECOND, YEAR_2026).instance_minutes
    assert {name: a.warm for (name, _), a in rows.items() if a.warm} == {"b": 5 * SECOND}


def test_a_step_of_the_wall_clock_changes_no_total() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    rows = [
        meter.flush(5 * SECOND, YEAR_2026),
        meter.flush(10 * SECOND, YEAR_2026 + 7200 * SECOND),
        meter.flush(15 * SECOND, YEAR_2026 - 7200 * SECOND),
    ]
    assert sum((summed(batch) for batch in rows), Amounts()).idle == 15 * SECOND
    minutes = {minute for batch in rows for _, minute in batch.instance_minutes}
    first = YEAR_2026 // MINUTE
    assert minutes == {first, first + 120}  # each step holds from the flush that saw it


def test_the_time_for_which_the_minimum_holds_an_instance_is_counted_busy_or_not() -> None:
    meter = meter_of(a_revision(Mode.LAMBDA, minimum=1))
    meter.changed(an_instance(started=0))
    meter.changed(an_instance(started=0, ready=SECOND))
    tell(meter, 5 * SECOND, requests=2, busy=[(2 * SECOND, 4 * SECOND)])
    total = summed(meter.flush(6 * SECOND, YEAR_2026))
    assert (total.held, total.warm, total.rounding_5min) == (5 * SECOND, 3 * SECOND, 0)
    assert total.held_milliseconds == total.invocation_milliseconds == 1000 + 20
    meter.changed(an_instance(started=0, ready=SECOND, stopping=8 * SECOND, ended=9 * SECOND))
    total += summed(meter.flush(10 * SECOND, YEAR_2026))
    assert total.held == 7 * SECOND
    assert total.held + total.rounding_5min == 300 * SECOND
    for later in (30, 60):
        assert summed(meter.flush(later * SECOND, YEAR_2026)) == Amounts()


def test_what_the_minimum_does_not_hold_is_not_counted_as_held() -> None:
    meter = meter_of(a_revision(Mode.LAMBDA))
    meter.changed(an_instance(started=0, ready=SECOND))
    tell(meter, 5 * SECOND, requests=2, busy=[(2 * SECOND, 4 * SECOND)])
    meter.changed(an_instance(started=0, ready=SECOND, stopping=8 * SECOND, ended=9 * SECOND))
    total = summed(meter.flush(60 * SECOND, YEAR_2026))
    assert (total.held, total.rounding_5min, total.held_milliseconds) == (0, 0, 0)
