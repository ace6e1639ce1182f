"""Instances come and go, and nothing is left: a short version of the measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import require_engine

from windlass.bench.leaks import Plan, measure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.engine
@pytest.mark.e2e
@pytest.mark.slow
async def test_thirty_instances_that_came_and_went_leave_nothing(
    static_image: str, tmp_path: Path
) -> None:
    require_engine()
    outcome = await measure(Plan(image=static_image, cycles=30, at_a_time=10), tmp_path)
    assert outcome.after == outcome.before
    assert (outcome.before.cgroups, outcome.before.processes, outcome.before.folders) == (0, 0, 0)
