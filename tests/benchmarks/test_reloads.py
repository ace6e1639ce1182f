"""Reloads under load lose no request: the measurement, in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.bench.reloads import Plan, measure

SERVER = Path(__file__).parents[2] / "examples" / "hello" / "server.py"


@pytest.mark.e2e
@pytest.mark.slow
async def test_five_reloads_lose_no_request(tmp_path: Path) -> None:
    outcome = await measure(Plan(reloads=5, workers=2, server=str(SERVER)), tmp_path)
    assert (outcome.lost, outcome.reasons, outcome.left_draining) == (0, {}, 0)
    assert outcome.requests > 500
