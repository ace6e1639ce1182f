"""Several router workers: one port, one limit for all, and what a crash of one costs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import Platform, start_platform, stop
from tests.deploy.steady import steady

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"


@pytest.fixture
async def two_workers(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform with two workers."""
    platform = await start_platform(tmp_path, "--runtime", "process", "--workers", "2")
    yield platform
    await stop(platform)


async def test_as_many_requests_at_once_as_slots_are_served_by_both_without_waiting(
    two_workers: Platform,
) -> None:
    platform = two_workers
    await platform.succeed(
        *("deploy", "hello", "--exec", HELLO, "--concurrency", "20"),
        *("--min-instances", "1", "--max-instances", "1"),
    )
    answers = await asyncio.gather(*(platform.get("hello", "/?ms=200") for _ in range(100)))
    assert [status for status, _ in answers] == [200] * 100
    stats = json.loads((await platform.get("hello", "/stats"))[1])
    assert stats["max_in_flight"] == 20, "all are used, and none more"


async def test_lambda_mode_needs_as_many_instances_as_requests_at_once(
    two_workers: Platform,
) -> None:
    platform = two_workers
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--mode", "lambda")
    await asyncio.gather(*(platform.get("hello", "/?ms=3000") for _ in range(6)))
    assert len(await platform.alive("hello")) == 6
    for _ in range(40):  # one after the other, on whichever worker: the slots go where they come
        assert (await platform.get("hello"))[0] == 200
    assert len(await platform.alive("hello")) == 6


async def test_lambda_mode_refuses_what_is_over_its_limit_at_all_workers_together(
    two_workers: Platform,
) -> None:
    platform = two_workers
    await platform.succeed(
        "deploy", "hello", "--exec", HELLO, "--mode", "lambda", "--max-instances", "4"
    )
    answers = await asyncio.gather(*(platform.get("hello", "/?ms=4000") for _ in range(12)))
    assert sorted(status for status, _ in answers) == [200] * 4 + [429] * 8
    assert len(await platform.alive("hello")) == 4


async def test_a_killed_worker_costs_its_own_requests_and_is_replaced(
    two_workers: Platform,
) -> None:
    platform = two_workers
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--min-instances", "1")
    under_way = asyncio.gather(*(platform.once("hello", "/?ms=4000") for _ in range(40)))

    async def arrived() -> bool:
        return bool(sum(i["in_flight"] for i in await platform.alive("hello")) == 40)

    await platform.until(arrived, 10)
    killed = platform.worker(2)
    theirs = connections_of(killed, platform.http)
    os.kill(killed, signal.SIGKILL)
    outcomes = Counter(await under_way)
    assert outcomes == {0: theirs, 200: 40 - theirs}
    assert 0 < theirs < 40

    async def is_replaced() -> bool:
        return platform.worker(2) not in (0, killed)

    await platform.until(is_replaced, 10)
    async with steady(platform, "hello", "/", 50) as load:
        await asyncio.sleep(2)
    assert load.failed == {}

    async def nothing_is_in_flight() -> bool:
        return not any(i["in_flight"] for i in await platform.alive("hello"))

    await platform.until(nothing_is_in_flight, 10)


def connections_of(pid: int, port: int) -> int:
    """Return how many clients are connected to a process at a port of the loopback."""
    inodes = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open(f"/proc/{pid}/net/tcp") as file:
        lines = [line.split() for line in file.readlines()[1:]]
    local = f"0100007F:{port:04X}"
    return sum(line[1] == local and line[3] == "01" and line[9] in inodes for line in lines)


async def test_a_node_that_was_killed_reloads_workers_that_it_did_not_start(
    two_workers: Platform,
) -> None:
    platform = two_workers
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--min-instances", "1")
    before = {platform.worker(1), platform.worker(2)}
    platform.kill_node()
    await platform.up_again()
    assert {platform.worker(1), platform.worker(2)} == before
    await platform.until(lambda: answers(platform), 10)
    async with steady(platform, "hello", "/?ms=20", 50) as load:
        reloaded = await platform.json("reload")
        await asyncio.sleep(1)
    assert load.failed == {}
    assert len(reloaded["workers"]) == 2


async def test_a_node_that_was_killed_while_old_workers_drain_has_the_sockets_of_the_new_ones(
    two_workers: Platform,
) -> None:
    platform = two_workers
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--min-instances", "1")
    kept = [await asyncio.open_connection("127.0.0.1", platform.http) for _ in range(8)]
    await asyncio.sleep(0.5)  # until they are accepted; the old workers wait for their requests
    await platform.json("reload")
    assert len(list(platform.state.glob("worker-*.pid"))) > 2
    platform.kill_node()
    await platform.up_again()
    await platform.until(lambda: answers(platform), 10)
    asked = [asyncio.wait_for(platform.once("hello"), 5) for _ in range(40)]
    assert await asyncio.gather(*asked) == [200] * 40
    for _, writer in kept:
        writer.close()


async def answers(platform: Platform) -> bool:
    try:
        return (await platform.get("hello"))[0] == 200
    except OSError:
        return False
