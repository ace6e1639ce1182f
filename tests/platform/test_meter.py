"""The meter: what it books is what the raw edges say, however they reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.billing.bill import bill
from windlass.billing.book import load_books
from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.minutes import MINUTE, SECOND
from windlass.billing.rows import Amounts, Batch, Gap, Saved
from windlass.billing.slices import union
from windlass.model.instance import Instance, State
from windlass.model.service import Container, Limits, Mode, Revision, Scaling, Template

YEAR_2026 = 1_767_225_630 * SECOND  # and half a minute
MILLISECOND = 1_000_000
BOOKS = load_books()
Stretch = tuple[int, int]


def _revision(mode: Mode = Mode.CLOUDRUN, minimum: int = 0) -> Revision:
    template = Template(
        container=Container(image="shop"),
        limits=Limits(milli_cpu=1300, memory=700 * 1024**2),
        scaling=Scaling(min_instances=minimum),
        mode=mode,
    )
    return Revision(name="shop-00001", service="shop", number=1, created=0.0, template=template)


def _instance(name: str = "shop-00001-a", **moments: Any) -> Instance:
    return Instance(id=name, revision="shop-00001", service="shop", **moments)


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
        return _instance(started=started, ended=ended, state=State.FAILED)
    if kind == "failed":
        return _instance(started=started, ready=ready, ended=ended, state=State.FAILED)
    return _instance(
        started=started, ready=ready, stopping=stopping, ended=ended, state=State.STOPPED
    )


def _as_of(instance: Instance, now: int) -> Instance:
    """Return what was known of the instance at a moment."""
    known = {
        name: moment
        for name in ("started", "ready", "stopping", "ended")
        if (moment := getattr(instance, name)) is not None and moment <= now
    }
    return _instance(**known)


@dataclass
class Run:
    """A platform in virtual time: ticks at which things are told, flushes, and crashes."""

    instance: Instance
    routers: list[Router]
    revision: Revision = field(default_factory=_revision)
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


def _meter(revision: Revision, saved: Saved | None = None, now: int = 0) -> Meter:
    return Meter({revision.name: revision}, now, YEAR_2026, saved)


def _sum(batch: Batch) -> Amounts:
    return sum(batch.instance_minutes.values(), Amounts())


def test_an_open_slice_counts_up_to_now_and_is_rounded_when_it_ends() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0))
    assert _sum(meter.flush(SECOND // 4, YEAR_2026)) == Amounts(startup=SECOND // 4)
    meter.changed(_instance(started=0, ready=SECOND // 4 + 1))
    later = _sum(meter.flush(SECOND, YEAR_2026))
    assert (later.startup, later.idle) == (1, 3 * SECOND // 4 - 1)
    assert later.rounding_100ms == 50 * MILLISECOND - 1
    assert later.rounding_1s == 750 * MILLISECOND - 1


def test_a_slice_that_outlasts_many_flushes_is_rounded_once() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    total = Amounts()
    for now in range(SECOND, 30 * SECOND, SECOND):
        _tell(meter, now, since=123)
        total += _sum(meter.flush(now + 7, YEAR_2026))
    assert (total.busy, total.rounding_100ms) == (29 * SECOND + 7 - 123, 0)
    _tell(meter, 30 * SECOND, busy=[(123, 30 * SECOND)])
    total += _sum(meter.flush(31 * SECOND, YEAR_2026))
    assert (total.busy, total.rounding_100ms) == (30 * SECOND - 123, 123)


def test_what_workers_kept_while_the_platform_was_down_is_billed() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    _tell(meter, SECOND, since=SECOND // 2)
    ledger.append(meter.flush(SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))  # before the workers are back
    _tell(meter, 60 * SECOND, requests=1, busy=[(SECOND // 2, 40 * SECOND)])
    ledger.append(meter.flush(62 * SECOND, YEAR_2026))
    total = ledger.usage(0, 4e9).total()
    assert (total.busy, total.idle, meter.late) == (39 * SECOND + SECOND // 2, 45 * SECOND // 2, 0)


def test_each_minute_holds_as_much_as_the_instance_lived_in_it() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=SECOND))
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
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=SECOND))
    for now in range(SECOND, 100 * SECOND, SECOND):
        offset = YEAR_2026 + (step if now >= 50 * SECOND else 0)
        _tell(meter, now, requests=1, busy=[(now - SECOND // 4, now)] if now > SECOND else [])
        ledger.append(meter.flush(now, offset))
    total = ledger.usage(0, 4e9).total()
    assert (total.startup, total.busy) == (SECOND, 98 * SECOND // 4)
    assert total.idle == 98 * SECOND - total.busy
    assert total.requests == 99


def test_a_report_that_comes_twice_counts_once() -> None:
    meter = _meter(_revision())
    assert meter.take_report("worker-1", 1, SECOND)
    assert not meter.take_report("worker-1", 1, SECOND)
    assert meter.take_report("worker-2", 1, SECOND)


def test_a_stretch_that_was_booked_as_idle_becomes_busy_when_it_is_reported() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    meter.flush(3 * SECOND, YEAR_2026)
    _tell(meter, 4 * SECOND, busy=[(2 * SECOND, 5 * SECOND // 2)])
    change = _sum(meter.flush(4 * SECOND, YEAR_2026))
    assert (change.busy, change.idle) == (SECOND // 2, SECOND // 2)


def _tell(
    meter: Meter,
    end: int,
    *,
    requests: int = 0,
    busy: list[Stretch] | None = None,
    since: int | None = None,
    first_duration: int = 10 * MILLISECOND,
    worker: str = "worker-1.a",
) -> None:
    assert meter.take_report(worker, end, end)
    meter.count_instance(
        worker,
        "shop-00001-a",
        requests=requests,
        invocation_milliseconds=10 * requests,
        busy=busy or [],
        busy_since=since,
        first_duration=first_duration,
    )


def test_what_comes_too_late_is_not_billed_but_known() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    meter.flush(60 * SECOND, YEAR_2026)
    _tell(meter, 60 * SECOND, requests=3, busy=[(SECOND, 2 * SECOND)])
    change = _sum(meter.flush(60 * SECOND, YEAR_2026))
    assert (change.busy, change.requests, meter.late) == (0, 3, SECOND)


def test_a_workers_end_ends_what_was_in_flight_through_it() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    _tell(meter, 3 * SECOND, since=SECOND)
    gap = meter.worker_gone("worker-1.a", 4 * SECOND, lost=False)
    assert gap == Gap("worker-1.a", YEAR_2026 + 3 * SECOND, YEAR_2026 + 4 * SECOND)
    total = _sum(meter.flush(9 * SECOND, YEAR_2026))
    assert (total.busy, total.idle) == (2 * SECOND, 7 * SECOND)


def test_what_was_not_heard_of_before_everything_was_killed_is_known() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    _tell(meter, 5 * SECOND - 7, since=SECOND)
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    meter.take_over(["worker-1.a"], 60 * SECOND)
    meter.worker_gone("worker-1.a", 60 * SECOND, lost=True)
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    gap = Gap("worker-1.a", YEAR_2026 + 5 * SECOND - 7, YEAR_2026 + 60 * SECOND)
    assert ledger.usage(0, 4e9).gaps == (gap,)
    assert ledger.usage(0, 1e9).gaps == ()


def test_of_an_idle_worker_all_is_known_up_to_when_it_said_so() -> None:
    meter = _meter(_revision())
    meter.expect("worker-1", 0)
    meter.flush(100 * SECOND, YEAR_2026)
    meter.quiet("worker-1", 99 * SECOND)
    gap = meter.worker_gone("worker-1", 100 * SECOND, lost=True)
    assert gap == Gap("worker-1", YEAR_2026 + 99 * SECOND, YEAR_2026 + 100 * SECOND)


def test_a_worker_that_ended_by_its_own_will_or_served_nothing_leaves_no_gap() -> None:
    meter = _meter(_revision())
    meter.expect("worker-1", 0)
    assert meter.worker_gone("worker-1", SECOND, lost=False) is None
    assert meter.worker_gone("worker-2", SECOND, lost=True) is None


def test_a_worker_that_was_killed_before_it_was_heard_of_is_unknown_since_the_last_flush() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    ledger.append(_meter(_revision()).flush(5 * SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    meter.take_over(["worker-1.a"], 60 * SECOND)
    gap = meter.worker_gone("worker-1.a", 61 * SECOND, lost=True)
    assert gap == Gap("worker-1.a", YEAR_2026 + 5 * SECOND, YEAR_2026 + 61 * SECOND)


def test_workers_that_are_gone_are_no_more_in_the_ledger() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    for worker in ("worker-1.a", "worker-1.b", "worker-1.c"):
        meter.expect(worker, 0)
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter.worker_gone("worker-1.a", 6 * SECOND, lost=True)
    ledger.append(meter.flush(6 * SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    meter.take_over(["worker-1.c"], 60 * SECOND)
    ledger.append(meter.flush(60 * SECOND, YEAR_2026))
    saved = ledger.load()
    assert saved is not None
    assert saved.marks.keys() == {"worker-1.c"}


def test_after_the_machine_was_started_anew_it_is_known_who_lived_and_what_is_unknown() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    _tell(meter, 4 * SECOND)
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    saved = ledger.load()
    assert saved is not None
    saved.rebooted = True
    meter = Meter({}, 7, YEAR_2026 + 60 * SECOND, saved)
    meter.take_over(["worker-1.a"], 7)
    assert meter.alive() == {}
    assert meter.ended_by_reboot == {"shop-00001-a": YEAR_2026 + 5 * SECOND}
    batch = meter.flush(8, YEAR_2026 + 60 * SECOND)
    assert batch.gaps == [Gap("", YEAR_2026 + 4 * SECOND, YEAR_2026 + 60 * SECOND + 7)]
    assert batch.marks == {"worker-1.a": None}


def test_an_environment_that_was_never_invoked_pays_for_its_start() -> None:
    meter = _meter(_revision(Mode.LAMBDA))
    ready = 100 * MILLISECOND + 1
    meter.changed(_instance(started=0, ready=ready, stopping=SECOND, ended=SECOND))
    assert _sum(meter.flush(2 * SECOND, YEAR_2026)).invocation_milliseconds == 101
    _tell(meter, SECOND, requests=1)  # heard of after the end: the start is billed with it
    assert _sum(meter.flush(3 * SECOND, YEAR_2026)).invocation_milliseconds == 10


def test_the_start_is_billed_with_the_first_invocation_before_it_is_rounded() -> None:
    meter = _meter(_revision(Mode.LAMBDA))
    meter.changed(_instance(started=0, ready=400_000))  # ns
    _tell(meter, SECOND, requests=1, first_duration=9_300_000)  # rounded up to 10 ms
    _tell(meter, 2 * SECOND, requests=1, first_duration=9_300_000)
    assert _sum(meter.flush(3 * SECOND, YEAR_2026)).invocation_milliseconds == 10 + 10
    other = _meter(_revision(Mode.LAMBDA))
    other.changed(_instance(started=0, ready=2_700_001))
    _tell(other, SECOND, requests=1, first_duration=9_300_000)
    assert _sum(other.flush(3 * SECOND, YEAR_2026)).invocation_milliseconds == 13


@pytest.mark.parametrize("restarted", [False, True])
def test_a_start_is_billed_once_however_many_workers_serve_an_environment(restarted: bool) -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision(Mode.LAMBDA))
    meter.changed(_instance(started=0, ready=100 * MILLISECOND))
    _tell(meter, SECOND, requests=1, worker="worker-1.a")
    ledger.append(meter.flush(SECOND, YEAR_2026))
    if restarted:
        meter = _meter(_revision(Mode.LAMBDA), ledger.load(), now=2 * SECOND)
    _tell(meter, 3 * SECOND, requests=1, worker="worker-1.b")
    ledger.append(meter.flush(3 * SECOND, YEAR_2026))
    assert ledger.usage(0, 4e9).total().invocation_milliseconds == 100 + 10 + 10


def test_a_shared_instances_start_is_no_part_of_a_duration() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=100 * MILLISECOND))
    _tell(meter, SECOND, requests=1)
    assert _sum(meter.flush(SECOND, YEAR_2026)).invocation_milliseconds == 10


def test_the_minimum_holds_the_oldest_and_then_the_next() -> None:
    meter = _meter(_revision(minimum=1))
    meter.changed(_instance("a", started=0, ready=0))
    meter.changed(_instance("b", started=1, ready=1))
    rows = meter.flush(10 * SECOND, YEAR_2026).instance_minutes
    assert {name: amounts.warm for (name, _), amounts in rows.items()} == {
        "a": 10 * SECOND,
        "b": 0,
    }
    gone = {"stopping": 10 * SECOND, "ended": 10 * SECOND}
    meter.changed(_instance("a", started=0, ready=0, **gone))
    rows = meter.flush(15 * SECOND, YEAR_2026).instance_minutes
    assert {name: a.warm for (name, _), a in rows.items() if a.warm} == {"b": 5 * SECOND}


def test_an_instance_that_vanished_while_the_platform_was_down_ends_where_it_was_last_seen() -> (
    None
):
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    assert meter.alive().keys() == {"shop-00001-a"}
    assert meter.vanished("shop-00001-a") == YEAR_2026 + 5 * SECOND
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    assert ledger.usage(0, 4e9).total().idle == 5 * SECOND
    assert meter.alive() == {}


def test_what_was_in_flight_at_an_instance_that_vanished_stays_billed() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    meter.take_report("worker-1.a", 1, 4 * SECOND)
    meter.count_instance(
        "worker-1.a",
        "shop-00001-a",
        requests=0,
        invocation_milliseconds=0,
        busy=(),
        busy_since=SECOND,
    )
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    meter.vanished("shop-00001-a")
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    assert ledger.usage(0, 4e9).total().busy == 4 * SECOND
    meter.worker_gone(
        "worker-1.a", 62 * SECOND, lost=True
    )  # killed, too: its last report is what is known
    ledger.append(meter.flush(62 * SECOND, YEAR_2026))
    assert ledger.usage(0, 4e9).total().busy == 3 * SECOND


def test_an_instance_that_outlived_a_crash_is_billed_through_it() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=SECOND))
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = _meter(_revision(), ledger.load(), now=60 * SECOND)
    meter.changed(_instance(started=60 * SECOND, ready=60 * SECOND))  # as adoption has it
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    total = ledger.usage(0, 4e9).total()
    assert (total.startup, total.idle) == (SECOND, 60 * SECOND)


def test_after_a_restart_of_the_machine_lives_end_where_they_were_last_seen(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, boot="one")
    meter = _meter(_revision())
    meter.changed(_instance(started=0))
    ledger.append(meter.flush(950 * MILLISECOND, YEAR_2026))
    ledger.close()
    ledger = Ledger(path, boot="two")
    meter = _meter(_revision(), ledger.load(), now=7)
    assert meter.alive() == {}
    ledger.append(meter.flush(SECOND, YEAR_2026))
    total = ledger.usage(0, 4e9).total()
    assert (total.startup, total.rounding_100ms) == (950 * MILLISECOND, 50 * MILLISECOND)
    saved = ledger.load()
    assert saved is not None
    assert saved.states == []
    ledger.close()


def test_a_step_of_the_wall_clock_changes_no_total() -> None:
    meter = _meter(_revision())
    meter.changed(_instance(started=0, ready=0))
    rows = [
        meter.flush(5 * SECOND, YEAR_2026),
        meter.flush(10 * SECOND, YEAR_2026 + 7200 * SECOND),
        meter.flush(15 * SECOND, YEAR_2026 - 7200 * SECOND),
    ]
    assert sum((_sum(batch) for batch in rows), Amounts()).idle == 15 * SECOND
    minutes = {minute for batch in rows for _, minute in batch.instance_minutes}
    first = YEAR_2026 // MINUTE
    assert minutes == {first, first + 120}  # each step holds from the flush that saw it


def test_the_time_for_which_the_minimum_holds_an_instance_is_counted_busy_or_not() -> None:
    meter = _meter(_revision(Mode.LAMBDA, minimum=1))
    meter.changed(_instance(started=0))
    meter.changed(_instance(started=0, ready=SECOND))
    _tell(meter, 5 * SECOND, requests=2, busy=[(2 * SECOND, 4 * SECOND)])
    total = _sum(meter.flush(6 * SECOND, YEAR_2026))
    assert (total.held, total.warm, total.rounding_5min) == (5 * SECOND, 3 * SECOND, 0)
    assert total.held_milliseconds == total.invocation_milliseconds == 1000 + 20
    meter.changed(_instance(started=0, ready=SECOND, stopping=8 * SECOND, ended=9 * SECOND))
    total += _sum(meter.flush(10 * SECOND, YEAR_2026))
    assert total.held == 7 * SECOND
    assert total.held + total.rounding_5min == 300 * SECOND
    for later in (30, 60):
        assert _sum(meter.flush(later * SECOND, YEAR_2026)) == Amounts()


def test_what_the_minimum_does_not_hold_is_not_counted_as_held() -> None:
    meter = _meter(_revision(Mode.LAMBDA))
    meter.changed(_instance(started=0, ready=SECOND))
    _tell(meter, 5 * SECOND, requests=2, busy=[(2 * SECOND, 4 * SECOND)])
    meter.changed(_instance(started=0, ready=SECOND, stopping=8 * SECOND, ended=9 * SECOND))
    total = _sum(meter.flush(60 * SECOND, YEAR_2026))
    assert (total.held, total.rounding_5min, total.held_milliseconds) == (0, 0, 0)
