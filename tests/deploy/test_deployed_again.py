"""What a service leaves that is deleted: nobody who waits for it, and nothing for its successor."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"


async def test_a_service_that_was_deleted_and_deployed_again_scales_out_as_before(
    process_platform: Platform,
) -> None:
    platform = process_platform
    for _ in range(2):
        await platform.succeed("deploy", "hello", "--exec", HELLO, "--mode", "lambda")
        answers = await asyncio.gather(*(platform.get("hello", "/?ms=3000") for _ in range(4)))
        assert [status for status, _ in answers] == [200] * 4
        # One each; fewer only where starting one takes as long as a request.
        assert len(await platform.alive("hello")) >= 3
        await platform.succeed("services", "delete", "hello")


async def test_who_waits_for_a_deleted_service_is_told_and_who_is_served_gets_the_answer(
    process_platform: Platform,
) -> None:
    platform = process_platform
    await platform.succeed(
        "deploy", "hello", "--exec", HELLO, "--concurrency", "1", "--max-instances", "1"
    )
    served = asyncio.create_task(platform.get("hello", "/?ms=6000"))
    metrics = f"http://127.0.0.1:{platform.admin}/metrics"

    async def is_served() -> bool:
        return any(one["in_flight"] for one in await platform.alive("hello"))

    async def is_waiting() -> bool:
        async with platform.session.get(metrics) as response:
            text = await response.text()
        return re.search(r"^windlass_queued_requests\{.*\} 1", text, re.MULTILINE) is not None

    await platform.until(is_served, 20)
    waiting = asyncio.create_task(platform.get("hello"))
    await platform.until(is_waiting, 5)
    deleting = asyncio.create_task(platform.succeed("services", "delete", "hello"))
    status, body = await waiting
    problem = json.loads(body)
    assert (status, problem["type"]) == (404, "urn:windlass:problem:no-such-service")
    assert "was deleted while the request waited" in problem["detail"]
    assert not served.done()
    assert (await served)[0] == 200
    await deleting
