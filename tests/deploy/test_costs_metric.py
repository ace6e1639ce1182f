"""What Prometheus reads of usage and cost, from a running platform."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"


async def scrape(platform: Platform) -> str:
    url = f"http://127.0.0.1:{platform.admin}/metrics"
    async with platform.session.get(url) as response:
        return await response.text()


def complain_not(metrics: str) -> None:
    if promtool := shutil.which("promtool"):
        words = [promtool, "check", "metrics"]
        checked = subprocess.run(words, input=metrics, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_metrics_show_what_is_billed_until_the_service_is_deleted(
    process_platform: Platform,
) -> None:
    platform = process_platform
    await platform.succeed("deploy", "metered", "--exec", HELLO)
    assert (await platform.get("metered", "/?ms=150"))[0] == 200
    billed = 'windlass_billed_seconds_total{revision="metered-00001",service="metered"}'

    async def is_shown() -> bool:
        found = [line for line in (await scrape(platform)).splitlines() if line.startswith(billed)]
        return any(float(line.rpartition(" ")[2]) > 0 for line in found)

    await platform.until(is_shown, 10.0)
    shown = await scrape(platform)
    assert 'kind="busy",revision="metered-00001",service="metered"' in shown
    assert 'windlass_cost_dollars_total{book="lambda-x86",service="metered"}' in shown
    complain_not(shown)
    await platform.succeed("services", "delete", "metered")
    assert "metered-00001" not in await scrape(platform)
