"""A service of a name that another one had, which was deleted, is a new one in everything."""

from __future__ import annotations

import asyncio
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
