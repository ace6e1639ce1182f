"""The ledger: rows only add up, all or nothing, through full disks and kills."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from windlass.billing.ledger import Ledger, LedgerUnavailable
from windlass.billing.minutes import MINUTE, SECOND, WallClock
from windlass.billing.rows import (
    Amounts,
    Batch,
    InstanceFacts,
    Mark,
    RevisionAmounts,
    RevisionFacts,
)
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOVEMBER_END = 1_796_083_200 // 60  # minute at which December 2026 begins


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def _batch(
    busy: int = 1, minute: int = 100, service: str = "shop", instance: str = "a", mark: int = 1
) -> Batch:
    begun = minute * MINUTE
    return Batch(
        flushed=begun,
        clock=WallClock([(0, 0)]),
        instance_minutes={(instance, minute): Amounts(busy=busy, requests=1)},
        revision_minutes={(service, minute): RevisionAmounts(packed=2, cold_starts=1)},
        instances={instance: InstanceFacts(instance, service, begun, begun + SECOND)},
        revisions={
            service: RevisionFacts(service, service, Mode.CLOUDRUN, 1000, 2**29, (("team", "a"),))
        },
        marks={"worker-1": Mark(mark, begun)},
        states={instance: None},
    )


def test_what_is_appended_adds_up(ledger: Ledger) -> None:
    ledger.append(_batch(busy=5))
    ledger.append(_batch(busy=-2, mark=2))
    usage = ledger.usage(6000, 6060)
    assert usage.total() == Amounts(busy=3, requests=2)
    assert usage.revisions[0].counts == RevisionAmounts(packed=4, cold_starts=2)
    assert usage.cold_starts == 2
    saved = ledger.load()
    assert saved is not None
    assert saved.marks["worker-1"].sequence == 2


def test_usage_is_cut_at_whole_steps(ledger: Ledger) -> None:
    for minute in (100, 101, 119, 120, 240):
        ledger.append(_batch(minute=minute, busy=minute))
    parts = ledger.parts(101 * 60, 14_460, 60)
    assert [(part.since, part.until, part.total().busy) for part in parts] == [
        (101 * 60, 7200, 101 + 119),
        (7200, 10_800, 120),
        (14_400, 14_460, 240),
    ]
    assert parts[0].revisions[0].counts.packed == 4
    assert parts[0].instances[0].labels == (("team", "a"),)


def test_usage_is_of_whole_minutes_and_of_one_service_where_asked(ledger: Ledger) -> None:
    ledger.append(_batch(minute=100))
    ledger.append(_batch(minute=101, instance="b"))
    ledger.append(_batch(minute=101, service="other", instance="c"))
    assert ledger.usage(6000, 6060).total().requests == 1
    assert ledger.usage(6059.9, 6060.1).total().requests == 3
    assert ledger.usage(6000, 6120, "shop").total().requests == 2
    assert ledger.services() == ["other", "shop"]
    assert (ledger.begins(), ledger.begins("other"), ledger.begins("none")) == (6000, 6060, None)


def test_months_are_of_utc(ledger: Ledger) -> None:
    ledger.append(_batch(minute=NOVEMBER_END - 1))
    ledger.append(_batch(minute=NOVEMBER_END))
    months = [usage.month for usage in ledger.usage(0, 4e9).instances]
    assert months == ["2026-11", "2026-12"]


def test_months_are_of_utc_wherever_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # fourteen hours ahead
    time.tzset()
    try:
        ledger = Ledger(tmp_path / "ledger.db")
        ledger.append(_batch(minute=NOVEMBER_END - 1))
        ledger.append(_batch(minute=NOVEMBER_END))
        months = [usage.month for usage in ledger.usage(0, 4e9).instances]
        ledger.close()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert months == ["2026-11", "2026-12"]


def test_the_peak_is_of_instances_that_lived_at_once(ledger: Ledger) -> None:
    second_one = _batch(minute=101, instance="b")
    ledger.append(_batch(minute=100, instance="a"))
    ledger.append(second_one)
    assert ledger.usage(0, 4e9).peak_instances == 1
    second_one.instances["c"] = InstanceFacts("c", "shop", 101 * MINUTE + SECOND // 2)
    ledger.append(second_one)
    assert ledger.usage(0, 4e9).peak_instances == 2


def test_a_locked_ledger_keeps_what_it_could_not_write(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, patience=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for busy in (5, 7):
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.append(_batch(busy=busy))
    other.execute("ROLLBACK")
    other.close()
    ledger.append(_batch(busy=1))
    assert ledger.usage(6000, 6060).total() == Amounts(busy=13, requests=3)
    ledger.close()


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    [(pages,)] = ledger._database.execute("PRAGMA page_count")
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")
    large = _batch(busy=5)
    large.states["a"] = b"x" * 1_000_000
    with pytest.raises(LedgerUnavailable, match="full"):
        ledger.append(large)
    assert ledger.usage(6000, 6060).total() == Amounts()
    ledger._database.execute("PRAGMA max_page_count = 1000000")
    ledger.append(_batch(busy=1))
    assert ledger.usage(6000, 6060).total() == Amounts(busy=6, requests=2)
    ledger.close()


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(LedgerUnavailable, match="version 99"):
        Ledger(path)


def test_a_ledger_of_version_1_is_brought_up_to_date_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    ledger.append(_batch(busy=5))
    ledger._database.execute("UPDATE instance_minutes SET warm = 3")
    ledger.close()
    old = sqlite3.connect(path)
    for column in ("held", "rounding_5min", "held_milliseconds"):
        old.execute(f"ALTER TABLE instance_minutes DROP COLUMN {column}")
    old.execute("DROP TABLE gaps")
    old.execute("PRAGMA user_version = 1")
    old.close()
    ledger = Ledger(path)
    ledger.append(_batch(busy=1))
    expected = Amounts(busy=6, requests=2, warm=3, held=3)
    assert ledger.usage(6000, 6060).total() == expected
    ledger.close()


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("this is a letter to my aunt, and no database" * 100)
    with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be opened"):
        Ledger(path)


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from windlass.billing.ledger import Ledger
    from windlass.billing.minutes import WallClock
    from windlass.billing.rows import *
    from windlass.model.service import Mode

    ledger = Ledger(Path(sys.argv[1]), boot="one")
    saved = ledger.load()
    sequence = saved.marks["w"].sequence if saved else 0
    while True:
        sequence += 1
        ledger.append(Batch(
            flushed=sequence, clock=WallClock([(0, 0)]),
            instance_minutes={("a", sequence % 7): Amounts(busy=1, requests=1)},
            revision_minutes={}, instances={"a": InstanceFacts("a", "r", 0)},
            revisions={"r": RevisionFacts("r", "s", Mode.CLOUDRUN, 1000, 1)},
            marks={"w": Mark(sequence, 0)}, states={"a": None},
        ))
        print(sequence, flush=True)
""")


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_rows_and_marks_that_agree(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    for round_ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(3 + 7 * round_)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        database = sqlite3.connect(path)
        [(sequence,)] = database.execute("SELECT sequence FROM marks")
        [(busy, requests)] = database.execute(
            "SELECT SUM(busy), SUM(requests) FROM instance_minutes"
        )
        database.close()
        assert busy == requests == sequence >= told
