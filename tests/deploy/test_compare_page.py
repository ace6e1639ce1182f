"""A comparison that is started from the dashboard of a running platform, and what it leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from windlass.bench.difference import verdict

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} {Path('examples/hello/server.py').absolute()}"
FORM = {"exec": HELLO, "amount": "20", "kind": "rate", "path": "/?ms=50"}


async def start(platform: Platform, duration: str) -> None:
    url = f"http://127.0.0.1:{platform.admin}/compare"
    form = FORM | {"service": "", "duration": duration}
    async with platform.session.post(url, data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()


def run_of(platform: Platform) -> dict[str, Any]:
    (record,) = platform.state.glob("compare/*/run.json")
    found: dict[str, Any] = json.loads(record.read_text())
    return found


async def until(platform: Platform, said: str, seconds: float = 60.0) -> str:
    """Wait until the page says something; return the page."""
    text = ""

    async def is_said() -> bool:
        nonlocal text
        url = f"http://127.0.0.1:{platform.admin}/compare"
        async with platform.session.get(url, headers={"Accept": "text/html"}) as answer:
            text = await answer.text()
        return said in text

    await platform.until(is_said, seconds)
    return text


def processes() -> list[int]:
    """Return the processes of comparisons that are ours."""
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "windlass.deploy.cli up"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    children: list[int] = []
    for parent in found.stdout.split():
        of_parent = subprocess.run(
            ["pgrep", "-P", parent, "-f", "windlass.deploy.comparison.process"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        children += map(int, of_parent.stdout.split())
    return children


async def services(platform: Platform) -> list[str]:
    return [one["name"] for one in await platform.json("services", "list")]


async def test_a_run_ends_in_a_report_and_its_services_are_gone(
    process_platform: Platform,
) -> None:
    await start(process_platform, "4s")
    await until(process_platform, "Cloud Run mode is under load.")
    assert any(name.startswith("compare-cloudrun-") for name in await services(process_platform))
    text = await until(process_platform, "The comparison is over.")
    assert await services(process_platform) == []
    run = run_of(process_platform)
    assert f"{verdict(run['result']['ratio'])}: in cloudrun mode" in text
    assert run["state"] == "ended"
    for mode in run["modes"].values():
        assert mode["latest"].get("errors", 0) == 0
        assert len(mode["course"]) >= 4
    url = f"http://127.0.0.1:{process_platform.admin}/compare/{run['id']}/report.html"
    async with process_platform.session.get(url) as answer:
        assert answer.status == 200
        assert "What concurrency is worth" in await answer.text()
    assert processes() == []


async def test_a_cancelled_run_leaves_nothing(process_platform: Platform) -> None:
    await start(process_platform, "60s")
    await until(process_platform, "Cloud Run mode is under load.")
    url = f"http://127.0.0.1:{process_platform.admin}/compare/cancel"
    async with process_platform.session.post(url) as answer:
        assert "It was cancelled" in await answer.text()
    assert await services(process_platform) == []
    assert processes() == []


async def test_a_killed_load_leaves_nothing_and_says_so(process_platform: Platform) -> None:
    await start(process_platform, "60s")
    await until(process_platform, "Cloud Run mode is under load.")
    (pid,) = processes()
    os.kill(pid, signal.SIGKILL)
    await until(process_platform, "Its process ended with code -9.")
    assert await services(process_platform) == []


async def test_a_killed_platform_finds_and_deletes_what_a_run_left(
    process_platform: Platform,
) -> None:
    await start(process_platform, "60s")
    await until(process_platform, "Cloud Run mode is under load.")
    (pid,) = processes()
    process_platform.kill_node()
    await asyncio.sleep(0.5)
    await process_platform.up_again()
    await until(process_platform, "The platform was stopped meanwhile.")

    async def is_clean() -> bool:
        return await services(process_platform) == []

    await process_platform.until(is_clean, 30)
    with pytest.raises(ProcessLookupError):  # it saw the end of its stdin
        os.kill(pid, 0)
