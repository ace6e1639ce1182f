"""The meter: from when on nothing is known of what a worker did."""

from __future__ import annotations

from pathlib import Path

from tests.platform.meter_rig import (
    YEAR_2026,
    a_revision,
    an_instance,
    meter_of,
    summed,
    tell,
)

from windlass.billing.ledger import Ledger
from windlass.billing.minutes import SECOND
from windlass.billing.rows import Gap


def test_a_workers_end_ends_what_was_in_flight_through_it() -> None:
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    tell(meter, 3 * SECOND, since=SECOND)
    gap = meter.worker_gone("worker-1.a", 4 * SECOND, lost=False)
    assert gap == Gap("worker-1.a", YEAR_2026 + 3 * SECOND, YEAR_2026 + 4 * SECOND)
    total = summed(meter.flush(9 * SECOND, YEAR_2026))
    assert (total.busy, total.idle) == (2 * SECOND, 7 * SECOND)


def test_what_was_not_heard_of_before_everything_was_killed_is_known() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    tell(meter, 5 * SECOND - 7, since=SECOND)
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
    meter.take_over(["worker-1.a"], 60 * SECOND)
    meter.worker_gone("worker-1.a", 60 * SECOND, lost=True)
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    gap = Gap("worker-1.a", YEAR_2026 + 5 * SECOND - 7, YEAR_2026 + 60 * SECOND)
    assert ledger.usage(0, 4e9).gaps == (gap,)
    assert ledger.usage(0, 1e9).gaps == ()


def test_of_an_idle_worker_all_is_known_up_to_when_it_said_so() -> None:
    meter = meter_of(a_revision())
    meter.expect("worker-1", 0)
    meter.flush(100 * SECOND, YEAR_2026)
    meter.quiet("worker-1", 99 * SECOND)
    gap = meter.worker_gone("worker-1", 100 * SECOND, lost=True)
    assert gap == Gap("worker-1", YEAR_2026 + 99 * SECOND, YEAR_2026 + 100 * SECOND)


def test_a_worker_that_ended_by_its_own_will_or_served_nothing_leaves_no_gap() -> None:
    meter = meter_of(a_revision())
    meter.expect("worker-1", 0)
    assert meter.worker_gone("worker-1", SECOND, lost=False) is None
    assert meter.worker_gone("worker-2", SECOND, lost=True) is None


def test_a_worker_that_was_killed_before_it_was_heard_of_is_unknown_since_the_last_flush() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    ledger.append(meter_of(a_revision()).flush(5 * SECOND, YEAR_2026))
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
    meter.take_over(["worker-1.a"], 60 * SECOND)
    gap = meter.worker_gone("worker-1.a", 61 * SECOND, lost=True)
    assert gap == Gap("worker-1.a", YEAR_2026 + 5 * SECOND, YEAR_2026 + 61 * SECOND)


def test_workers_that_are_gone_are_no_more_in_the_ledger() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    for worker in ("worker-1.a", "worker-1.b", "worker-1.c"):
        meter.expect(worker, 0)
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter.worker_gone("worker-1.a", 6 * SECOND, lost=True)
    ledger.append(meter.flush(6 * SECOND, YEAR_2026))
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
    meter.take_over(["worker-1.c"], 60 * SECOND)
    ledger.append(meter.flush(60 * SECOND, YEAR_2026))
    saved = ledger.load()
    assert saved is not None
    assert saved.marks.keys() == {"worker-1.c"}
