"""The ledger against a recomputation from raw edges: a short run, and that it finds faults."""

from __future__ import annotations

import pytest

from windlass.bench.raw_edges import SECOND, RawLife, recomputed
from windlass.bench.recompute import Run
from windlass.billing.meter import Meter
from windlass.billing.rows import Amounts
from windlass.model.instance import Instance, State
from windlass.model.service import Mode

MILLISECOND = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_the_ledger_and_the_bills_are_what_the_raw_edges_come_to(seed: int) -> None:
    found = Run(seed).play(6_000)
    assert found.differences == []
    assert found.edges >= 6_000
    assert min(found.kills, found.clock_steps, found.flushes) > 10


def test_a_meter_that_counts_a_report_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Meter.take_report

    def forgetful(self: Meter, worker: str, sequence: int, end: int) -> bool:
        take(self, worker, sequence, end)
        return True

    monkeypatch.setattr(Meter, "take_report", forgetful)
    assert Run(1).play(1_000).differences


def test_edges_are_recomputed_as_one_would_by_hand() -> None:
    instance = Instance(
        id="shop-00001-a",
        revision="shop-00001",
        service="shop",
        state=State.STOPPED,
        started=0,
        ready=250 * MILLISECOND,
        stopping=2 * SECOND,
        ended=2 * SECOND + 1,
    )
    # Two workers overlap from 0.5 s to 1.2 s; the last request is under way at SIGTERM.
    life = RawLife(instance, Mode.CLOUDRUN)
    life.busy["a"] = [(500 * MILLISECOND, 1000 * MILLISECOND)]
    life.busy["b"] = [(900 * MILLISECOND, 1200 * MILLISECOND), (1900 * MILLISECOND, 2 * SECOND + 1)]
    assert recomputed(life) == Amounts(
        startup=250 * MILLISECOND,
        busy=800 * MILLISECOND,
        idle=950 * MILLISECOND,
        shutdown=1,
        rounding_100ms=50 * MILLISECOND + 100 * MILLISECOND - 1,
        rounding_1s=(750 + 300 + 900) * MILLISECOND - 1,
        requests=3,
        invocation_milliseconds=500 + 300 + 101,
    )
    assert life.edges == 4 + 6
