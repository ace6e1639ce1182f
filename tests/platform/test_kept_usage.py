"""What was used since a period began, asked again and again: as the ledger says, but cheaper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.billing.kept_usage import CLOSED, RENEWED, KeptUsage
from windlass.billing.ledger import Ledger
from windlass.billing.minutes import MINUTE, WallClock
from windlass.billing.rows import Amounts, Batch, InstanceFacts, RevisionAmounts, RevisionFacts
from windlass.model.service import Mode

if TYPE_CHECKING:
    from windlass.billing.usage import Usage

BEGIN = 1_796_083_200 - 7 * 60  # seven minutes before December 2026


class Counted(Ledger):
    """A ledger that knows how long the stretches were that it was asked for."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"), boot="one")
        self.asked: list[float] = []

    def usage(self, since: float, until: float, service: str | None = None) -> Usage:
        self.asked.append(until - since)
        return super().usage(since, until, service)

    def add(self, minute: int, service: str = "shop", instance: str = "a", busy: int = 1) -> None:
        """Write what an instance did in a minute, counted from BEGIN."""
        at = BEGIN // 60 + minute
        begun = at * MINUTE
        name = f"{service}-{instance}"
        self.append(
            Batch(
                flushed=begun,
                clock=WallClock([(0, 0)]),
                instance_minutes={(name, at): Amounts(busy=busy, requests=1)},
                revision_minutes={(service, at): RevisionAmounts(packed=2, cold_starts=1)},
                instances={name: InstanceFacts(name, service, begun)},
                revisions={service: RevisionFacts(service, service, Mode.CLOUDRUN, 1000, 2**29)},
                marks={},
                states={},
            )
        )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from("ab"), st.sampled_from(["shop", "other"])),
        max_size=30,
    )
)
def test_it_is_what_the_ledger_says_whenever_it_is_asked(
    rows: list[tuple[int, str, str]],
) -> None:
    ledger = Counted()
    kept = KeptUsage(ledger)
    minute = 0
    for number, (pause, instance, service) in enumerate(rows):
        minute += pause
        ledger.add(minute, service, instance, busy=number)
        ledger.add(max(0, minute - 5), service, instance, busy=-1)  # a correction
        now = BEGIN + 60.0 * minute + 30
        expected = ledger.usage(BEGIN, now, "shop")
        found = kept.read("shop", BEGIN, now)
        assert found == msgspec.structs.replace(expected, peak_instances=0)


def test_only_the_last_minutes_are_read_again() -> None:
    ledger = Counted()
    kept = KeptUsage(ledger)
    kept.read("shop", BEGIN, BEGIN + 1_000_000)
    ledger.asked.clear()
    for second in range(2, 600, 2):
        kept.read("shop", BEGIN, BEGIN + 1_000_000 + second)
    assert max(ledger.asked) <= CLOSED + 600


def test_what_was_written_late_is_seen_within_the_hour_and_a_new_period_begins_at_nothing() -> None:
    ledger = Counted()
    kept = KeptUsage(ledger)
    now = BEGIN + 100_000.0
    assert kept.read("shop", BEGIN, now).total().busy == 0
    ledger.add(1, busy=5)
    assert kept.read("shop", BEGIN, now + 2).total().busy == 0
    assert kept.read("shop", BEGIN, now + RENEWED).total().busy == 5
    assert kept.read("shop", BEGIN + 120, now + RENEWED).total().busy == 0
    ledger.add(2, busy=7)
    kept.forget("shop")
    assert kept.read("shop", BEGIN + 120, now + RENEWED).total().busy == 7
