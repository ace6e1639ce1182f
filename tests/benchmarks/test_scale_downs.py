"""Instances go under load on the oci runtime: a short version of the measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import require_engine

from windlass.bench.scale_downs import Plan, measure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.engine
@pytest.mark.e2e
@pytest.mark.slow
async def test_scale_downs_and_redeploys_lose_no_request(static_image: str, tmp_path: Path) -> None:
    require_engine()
    plan = Plan(
        image=static_image, scale_downs=5, surge=16, wave=16.0, redeployed=800, redeployed_rate=100
    )
    tallies = await measure(plan, tmp_path)
    assert [dict(tally.errors) for tally in tallies.values()] == [{}, {}]
    assert tallies["scale_downs"].done >= 5
    assert tallies["redeploys"].done >= 2
