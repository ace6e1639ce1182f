"""The measurement of flushes: its load is what it says."""

from __future__ import annotations

from windlass.bench.meter_flush import measure


def test_each_flush_is_measured() -> None:
    took = measure(instances=2, stretches=3, flushes=4)
    assert len(took) == 4
    assert all(seconds >= 0 for seconds in took)
