"""Many scale-downs and redeploys under load, and not one failed request.

How many: WINDLASS_SCALE_DOWNS (50) and WINDLASS_REDEPLOYED_REQUESTS (3000) in the environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest
from tests.deploy.steady import steady

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"
SCALE_DOWNS = int(os.environ.get("WINDLASS_SCALE_DOWNS", "50"))
REDEPLOYED_REQUESTS = int(os.environ.get("WINDLASS_REDEPLOYED_REQUESTS", "3000"))
SURGE = 30  # requests at once, on about ten instances


def scale_downs(platform: Platform) -> int:
    """Return how many instances were drained so far."""
    return platform.log().count("kind=InstanceDraining")


async def test_scale_downs_under_load_lose_no_request(process_platform: Platform) -> None:
    platform = process_platform
    await platform.succeed(
        "deploy", "hello", "--exec", HELLO, "--concurrency", "4", "--max-instances", "30",
        "--window", "6s", "--scale-to-zero-grace", "1s",
    )  # fmt: skip
    failed: dict[int, int] = {}
    served = waves = 0
    async with steady(platform, "hello", "/?ms=30", 10) as load:
        while scale_downs(platform) < SCALE_DOWNS:
            surge = (platform.get("hello", "/?ms=1500") for _ in range(SURGE))
            for status, _ in await asyncio.gather(*surge):
                served += 1
                if status != 200:
                    failed[status] = failed.get(status, 0) + 1
            waves += 1

            async def is_small() -> bool:
                return len(await platform.alive("hello")) <= 3

            await platform.until(is_small, 60)
    print(f"{scale_downs(platform)} scale-downs in {waves} waves, {served + load.sent} requests")
    assert (failed, load.failed) == ({}, {})


async def test_rolling_redeploys_lose_no_request(process_platform: Platform) -> None:
    platform = process_platform
    deploy = ("deploy", "hello", "--exec", HELLO, "--concurrency", "20", "--window", "6s")
    await platform.succeed(*deploy)
    redeploys = 0
    async with steady(platform, "hello", "/?ms=20", 150) as load:
        while load.sent < REDEPLOYED_REQUESTS:
            redeploys += 1
            await platform.succeed(*deploy, "--set-env-vars", f"ROUND={redeploys}")
    print(f"{redeploys} redeploys, {load.sent} requests")
    assert load.failed == {}
    assert redeploys >= 5
