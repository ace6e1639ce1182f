"""The meter: what it knows of instances after the platform, or the machine, was started anew."""

from __future__ import annotations

from pathlib import Path

from tests.platform.meter_rig import (
    MILLISECOND,
    YEAR_2026,
    a_revision,
    an_instance,
    meter_of,
    tell,
)

from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.minutes import SECOND
from windlass.billing.rows import Gap


def test_an_instance_that_vanished_while_the_platform_was_down_ends_where_it_was_last_seen() -> (
    None
):
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
    assert meter.alive().keys() == {"shop-00001-a"}
    assert meter.vanished("shop-00001-a") == YEAR_2026 + 5 * SECOND
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    assert ledger.usage(0, 4e9).total().idle == 5 * SECOND
    assert meter.alive() == {}


def test_what_was_in_flight_at_an_instance_that_vanished_stays_billed() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
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
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
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
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=SECOND))
    ledger.append(meter.flush(5 * SECOND, YEAR_2026))
    meter = meter_of(a_revision(), ledger.load(), now=60 * SECOND)
    meter.changed(an_instance(started=60 * SECOND, ready=60 * SECOND))  # as adoption has it
    ledger.append(meter.flush(61 * SECOND, YEAR_2026))
    total = ledger.usage(0, 4e9).total()
    assert (total.startup, total.idle) == (SECOND, 60 * SECOND)


def test_after_the_machine_was_started_anew_it_is_known_who_lived_and_what_is_unknown() -> None:
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0, ready=0))
    tell(meter, 4 * SECOND)
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


def test_after_a_restart_of_the_machine_lives_end_where_they_were_last_seen(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, boot="one")
    meter = meter_of(a_revision())
    meter.changed(an_instance(started=0))
    ledger.append(meter.flush(950 * MILLISECOND, YEAR_2026))
    ledger.close()
    ledger = Ledger(path, boot="two")
    meter = meter_of(a_revision(), ledger.load(), now=7)
    assert meter.alive() == {}
    ledger.append(meter.flush(SECOND, YEAR_2026))
    total = ledger.usage(0, 4e9).total()
    assert (total.startup, total.rounding_100ms) == (950 * MILLISECOND, 50 * MILLISECOND)
    saved = ledger.load()
    assert saved is not None
    assert saved.states == []
    ledger.close()
