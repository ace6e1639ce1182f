"""A burst from zero on the oci runtime: a short version of the measurement, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import require_engine

from windlass.bench.burst import Burst, Outcome, Plan, measure, report

if TYPE_CHECKING:
    from pathlib import Path

BURST = Burst(
    cold_start=60.0,
    p50=200.0,
    p99=300.0,
    highest=310.0,
    allowed=460.0,
    sending=10.0,
    errors={},
    instances=13,
    node_cpu=0.1,
    starting_cpu=0.2,
    workers_cpu=0.1,
)


def test_a_report_counts_errors_and_bursts_within_their_bound() -> None:
    late = Burst(
        **{
            **{name: getattr(BURST, name) for name in Burst.__slots__},
            "p99": 500.0,
            "errors": {"status 429": 2, "status 503": 1},
        }
    )
    found = report(Plan(image="x"), Outcome([BURST, late, BURST], 50_000, 40_000))
    assert (found["errors"], found["p99_within"]) == (3, 2)
    assert found["instances"] == [13, 13, 13]


@pytest.mark.engine
@pytest.mark.e2e
@pytest.mark.slow
async def test_a_burst_from_zero_is_served_by_as_many_instances_as_it_needs(
    static_image: str, tmp_path: Path
) -> None:
    require_engine()
    plan = Plan(image=static_image, requests=400, concurrency=80, milliseconds=500, rounds=1)
    outcome = await measure(plan, tmp_path)
    [burst] = outcome.bursts
    assert burst.errors == {}
    # 400 / 80; on a slow machine the burst lasts, and 70 % of 80 is what is aimed at then.
    assert 5 <= burst.instances <= 8
    assert 0 < burst.cold_start < burst.p99  # whether it is within its bound, a quiet machine tells
