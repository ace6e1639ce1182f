"""The platform may die: what is lost when the node or a router worker is killed under load."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import stop
from tests.deploy.steady import steady

from windlass.billing.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

    from windlass.billing.usage import Usage

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"
SECOND = 1_000_000_000


def metered(platform: Platform) -> Usage:
    """Return all that is in the ledger of a platform that has stopped."""
    ledger = Ledger(platform.state / "ledger.db")
    try:
        return ledger.usage(0, time.time() + 60)
    finally:
        ledger.close()


@pytest.mark.engine
async def test_a_killed_node_costs_no_request_no_instance_and_no_busy_time_on_docker(
    docker_platform: Platform, hello_image: str
) -> None:
    await costs_nothing(docker_platform, hello_image)


@pytest.mark.engine
async def test_a_killed_node_costs_no_request_no_instance_and_no_busy_time_on_oci(
    oci_platform: Platform, hello_image: str
) -> None:
    await costs_nothing(oci_platform, hello_image)


async def costs_nothing(platform: Platform, image: str) -> None:
    """Kill the node under load, start it again, and look for what it cost."""
    await platform.succeed("deploy", "hello", "--image", image, "--min-instances", "2")
    before = {i["id"]: i["started"] for i in await platform.alive("hello")}
    assert len(before) == 2
    worker = platform.worker()

    async with steady(platform, "hello") as load:
        await asyncio.sleep(3)
        platform.kill_node()
        served_before = load.sent
        await asyncio.sleep(3)
        assert load.sent - served_before > 100, "the router goes on without the node"
        await platform.up_again()
        await asyncio.sleep(3)

    assert load.failed == {}
    assert platform.worker() == worker
    after = {i["id"]: i["started"] for i in await platform.alive("hello")}
    assert after.keys() == before.keys()
    assert all(abs(after[name] - before[name]) < 0.5 for name in before), "started is not forgotten"
    lines = await platform.succeed("logs", "hello")
    assert lines.count("listening on port") == 2, "no line is kept twice"

    await stop(platform)
    usage = metered(platform)
    assert usage.total().requests == load.sent
    assert {each.instance for each in usage.instances} == before.keys()
    busy = usage.total().busy / SECOND
    assert busy <= 2 * load.busy  # through two instances
    assert busy >= 0.9 * load.busy, "the gap is metered from the router's own record"


@pytest.mark.engine
async def test_a_killed_conmon_costs_no_request_and_no_line_and_the_end_is_told(
    oci_platform: Platform, hello_image: str
) -> None:
    platform = oci_platform
    await platform.succeed("deploy", "hello", "--image", hello_image, "--min-instances", "1")
    [old] = await platform.alive("hello")
    folder = folder_of(platform, old["id"])
    async with steady(platform, "hello", "/?ms=20", 50) as load:
        await asyncio.sleep(1)
        os.kill(int((folder / "conmon.pid").read_text()), signal.SIGKILL)
        await asyncio.sleep(1)
        platform.kill_node()  # and the next one takes over an instance without conmon
        await platform.up_again()
        await asyncio.sleep(1)
    assert load.failed == {}
    assert [old["id"]] == [each["id"] for each in await platform.alive("hello")]

    os.kill(int((folder / "container.pid").read_text()), signal.SIGTERM)

    async def is_told() -> bool:
        events = await platform.json("events", "hello")
        return any(e["kind"] == "InstanceFailed" and "conmon" in e["message"] for e in events)

    await platform.until(is_told, 15)
    assert (await platform.get("hello"))[0] == 200
    lines = [each for each in await platform.lines("hello") if each["instance"] == old["id"]]
    assert [line["text"].split()[0] for line in lines] == ["listening", "stopped"]


def folder_of(platform: Platform, instance: str) -> Path:
    """Return the folder of an instance's container."""
    quoted = f'"instance":"{instance}"'
    records = (platform.state / "oci/containers").glob("*/record.json")
    [record] = [each for each in records if quoted in each.read_text()]
    return record.parent


async def test_a_node_killed_with_its_child_processes_starts_new_ones(
    process_platform: Platform,
) -> None:
    platform = process_platform
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--min-instances", "1")
    [old] = await platform.alive("hello")
    await platform.succeed("bill")  # writes what is known to the ledger, as every second does
    platform.kill_node()
    await platform.up_again()
    assert (await platform.get("hello"))[0] == 200
    assert old["id"] not in {i["id"] for i in await platform.alive("hello")}
    events = await platform.json("events", "hello")
    assert ("InstanceVanished", old["id"]) in {(e["kind"], e["instance"]) for e in events}


async def test_a_killed_router_worker_is_replaced_and_loses_only_its_own_requests(
    process_platform: Platform,
) -> None:
    platform = process_platform
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--min-instances", "1")
    worker = platform.worker()
    under_way = asyncio.gather(*(platform.once("hello", "/?ms=20000") for _ in range(5)))

    async def arrived() -> bool:
        return bool(sum(i["in_flight"] for i in await platform.alive("hello")) == 5)

    await platform.until(arrived, 10)
    os.kill(worker, signal.SIGKILL)
    assert await under_way == [0] * 5

    async def is_replaced() -> bool:
        return platform.worker() not in (0, worker)

    await platform.until(is_replaced, 10)

    async def answers() -> bool:
        try:
            return (await platform.get("hello"))[0] == 200
        except OSError:
            return False

    await platform.until(answers, 10)
    async with steady(platform, "hello", "/", 50) as load:
        await asyncio.sleep(2)
    assert load.failed == {}

    async def is_idle() -> bool:  # known a report later
        [instance] = await platform.alive("hello")
        return bool(instance["in_flight"] == 0)

    await platform.until(is_idle, 10)
    assert "WorkerLost" in platform.log()
