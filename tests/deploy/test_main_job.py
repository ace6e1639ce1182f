"""The main job on a real engine: from zero to several and back, and nobody is turned away."""

from __future__ import annotations

import asyncio
import collections
import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.slow]

SHORT = ("--window", "6s", "--scale-to-zero-grace", "1s")


async def test_two_hundred_requests_at_once_from_zero_share_three_or_four_instances(
    docker_platform: Platform, hello_image: str
) -> None:
    platform = docker_platform
    await platform.succeed(
        "deploy", "hello", "--image", hello_image, "--concurrency", "80", *SHORT,
        "--no-deploy-health-check",
    )  # fmt: skip
    assert await platform.alive("hello") == []

    answers = await asyncio.gather(*(platform.get("hello", "/?ms=1500") for _ in range(200)))

    assert collections.Counter(status for status, _ in answers) == {200: 200}
    bodies = [json.loads(body) for _, body in answers]
    assert max(body["max_in_flight"] for body in bodies) <= 80
    instances = {body["instance"] for body in bodies}
    assert len(instances) in (3, 4)
    started = await platform.json("instances", "hello")
    assert len(started) in (3, 4)
    await platform.until_zero("hello")


async def test_an_image_that_nobody_here_wrote_is_served_as_it_is(
    docker_platform: Platform, nginx_image: str
) -> None:
    platform = docker_platform
    await platform.succeed("deploy", "web", "--image", nginx_image, "--port", "8080")
    status, body = await platform.get("web")
    assert (status, "nginx" in body) == (200, True)


async def test_another_server_that_nobody_here_wrote_is_served_as_it_is(
    docker_platform: Platform, other_server_image: str
) -> None:
    platform = docker_platform
    await platform.succeed("deploy", "other", "--image", other_server_image)
    status, _ = await platform.get("other")
    assert status == 200


async def test_redeploys_and_scale_downs_under_load_lose_no_request(
    docker_platform: Platform, hello_image: str
) -> None:
    platform = docker_platform
    deploy = ("deploy", "hello", "--image", hello_image, "--concurrency", "10", *SHORT)
    await platform.succeed(*deploy)
    statuses: collections.Counter[int] = collections.Counter()
    stop = asyncio.Event()

    async def client(pause: float) -> None:
        while not stop.is_set():
            status, _ = await platform.get("hello", "/?ms=20")
            statuses[status] += 1
            await asyncio.sleep(pause)

    async def waves() -> None:
        """Forty clients at times, four between: instances come and go."""
        while not stop.is_set():
            surge = [asyncio.create_task(client(0)) for _ in range(36)]
            await asyncio.sleep(3)
            for task in surge:
                task.cancel()
            await asyncio.gather(*surge, return_exceptions=True)
            await asyncio.sleep(9)

    steady = [asyncio.create_task(client(0.005)) for _ in range(4)]
    surges = asyncio.create_task(waves())
    deadline = time.monotonic() + 45
    deploys = 0
    while time.monotonic() < deadline or sum(statuses.values()) < 6_000:
        await platform.succeed(*deploy, "--set-env-vars", f"ROUND={deploys}")
        deploys += 1
        await asyncio.sleep(4)
    surges.cancel()
    stop.set()
    await asyncio.gather(*steady)

    assert sum(statuses.values()) >= 5_000
    assert set(statuses) == {200}
    assert deploys >= 5
    events = await platform.json("events", "hello")
    assert sum(event["kind"] == "InstanceStopped" for event in events) > deploys


async def test_limits_are_enforced_in_the_container(
    docker_platform: Platform, hello_image: str
) -> None:
    platform = docker_platform
    await platform.succeed(
        "deploy", "hello", "--image", hello_image, "--memory", "128Mi", "--cpu", "0.5",
        "--command", "python3",
        "--args", "^;^-c;"
        "import os, http.server\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        x = bytearray(300 << 20)\n"
        "http.server.HTTPServer(('', int(os.environ['PORT'])), H).serve_forever()\n",
    )  # fmt: skip
    status, body = await platform.get("hello")
    assert status == 502
    assert json.loads(body)["service"] == "hello"

    async def says_so() -> bool:
        events = await platform.json("events", "hello")
        return any("128" in e["message"] and "memory" in e["message"].lower() for e in events)

    await platform.until(says_so, 15)
