"""Budgets as a user meets them: said when they are spent, and kept where that is asked for."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"
SMALL = "0.0000001"  # dollars: less than a tenth of a second costs


async def deploy(platform: Platform, *flags: str) -> None:
    await platform.succeed("deploy", "hello", "--exec", HELLO, *flags)


async def until_spent(platform: Platform) -> None:
    async def is_told() -> bool:
        events = await platform.json("events", "hello")
        return any(event["kind"] == "BudgetSpent" for event in events)

    await platform.until(is_told, 20)


async def metrics(platform: Platform) -> str:
    async with platform.session.get(f"http://127.0.0.1:{platform.admin}/metrics") as response:
        return await response.text()


async def test_a_warning_is_an_event_a_metric_and_a_line_of_the_bill(
    process_platform: Platform,
) -> None:
    platform = process_platform
    await deploy(platform, "--budget", f"{SMALL}/month")
    assert (await platform.get("hello"))[0] == 200
    await until_spent(platform)
    assert (await platform.get("hello"))[0] == 200  # it is only said
    shown = await metrics(platform)
    assert 'windlass_budget_dollars{service="hello"} 1e-07' in shown
    assert 'windlass_budget_spent_dollars{service="hello"}' in shown
    bill = await platform.succeed("bill", "hello")
    assert "Budget of hello: $" in bill
    assert "per month spent since" in bill
    [view] = (await platform.json("bill", "hello"))["budgets"]
    assert (Decimal(view["amount"]), view["action"]) == (Decimal(SMALL), "warn")


@pytest.mark.parametrize("mode", ["cloudrun", "lambda"])
async def test_a_cap_lets_no_instance_run_through_a_restart_until_the_budget_is_raised(
    process_platform: Platform, mode: str
) -> None:
    platform = process_platform
    flags = ("--mode", mode, "--min-instances", "1", "--budget", f"{SMALL}/month")
    await deploy(platform, *flags, "--budget-action", "cap")
    await platform.get("hello")
    await until_spent(platform)
    await platform.until_zero("hello")
    status, body = await platform.get("hello")
    problem = json.loads(body)
    assert (status, problem["type"]) == (429, "urn:windlass:problem:budget-spent")
    assert "per month spent since" in problem["detail"]
    platform.kill_node()
    await platform.up_again()
    assert (await platform.get("hello"))[0] == 429
    assert not await platform.alive("hello")
    await platform.succeed("deploy", "hello", "--budget", "1000/month")

    async def serves() -> bool:
        return (await platform.get("hello"))[0] == 200

    await platform.until(serves, 30)
    told = [e for e in await platform.json("events", "hello") if e["kind"] == "BudgetSpent"]
    assert len(told) == 1
