"""Frozen instances use no CPU, whatever their program does; others use what they want."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.images import BASE
from tests.platform.oci.containers import require_engine

from windlass.bench.idle_cpu import Plan, measure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.engine
@pytest.mark.slow
async def test_busy_programs_rest_while_nobody_calls_them(engine: str, tmp_path: Path) -> None:
    require_engine()
    plan = Plan(image=BASE, frozen=3, awake=2, seconds=2.0)
    found: dict[str, Any] = await measure(plan, tmp_path)
    assert found["frozen"]["of_them_frozen"] == 3
    assert found["frozen"]["percent_of_a_core"] < 1
    assert found["awake"]["of_them_frozen"] == 0
    assert found["awake"]["percent_of_a_core"] > 5, "they want 40, on a machine to themselves"
