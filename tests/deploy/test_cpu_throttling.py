"""Instances without CPU while nobody calls them, and containers made ahead, on the oci runtime."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.deploy.test_survival import folder_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]

REST = 0.5  # seconds after which an idle instance is frozen


async def is_frozen(platform: Platform, service: str = "hello") -> bool:
    instances = await platform.alive(service)
    return bool(instances) and all(each["frozen"] for each in instances)


async def until_frozen(platform: Platform) -> None:
    await platform.until(lambda: is_frozen(platform), 15)


async def standbys(platform: Platform) -> list[dict[str, Any]]:
    listed = await platform.json("instances", "hello")
    return [each for each in listed if each["state"] == "standby"]


async def events(platform: Platform, kind: str) -> list[dict[str, Any]]:
    return [e for e in await platform.json("events", "hello") if e["kind"] == kind]


async def test_no_request_is_lost_to_freezing_whenever_it_comes(
    oci_platform: Platform, static_image: str
) -> None:
    platform = oci_platform
    await platform.succeed("deploy", "hello", "--image", static_image, "--concurrency", "2")
    await until_frozen(platform)
    slowest = 0.0
    loop = asyncio.get_running_loop()
    for number in range(40):  # around the moment of freezing, from before it to after it
        await asyncio.sleep(REST + 0.25 * (number % 8 - 3) / 4)
        begun = loop.time()
        answers = await asyncio.gather(*(platform.get("hello", "/") for _ in range(2)))
        slowest = max(slowest, loop.time() - begun)
        assert [status for status, _ in answers] == [200, 200]
    assert slowest < 5, "a request that met a frozen instance would hang"
    await until_frozen(platform)
    assert "frozen" in await platform.succeed("instances", "hello")


async def test_a_frozen_instance_serves_while_the_node_is_dead_and_after(
    oci_platform: Platform, static_image: str
) -> None:
    platform = oci_platform
    await platform.succeed("deploy", "hello", "--image", static_image)
    await until_frozen(platform)
    [old] = await platform.alive("hello")
    platform.kill_node()
    assert (await platform.get("hello"))[0] == 200
    await platform.up_again()
    assert (await platform.get("hello"))[0] == 200
    await until_frozen(platform)
    assert [each["id"] for each in await platform.alive("hello")] == [old["id"]]


async def test_a_frozen_instance_is_not_taken_for_dead_and_gets_its_sigterm(
    oci_platform: Platform, hello_image: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "hello.yaml"
    manifest.write_text(f"""
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: hello}}
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/window: 6s
        autoscaling.knative.dev/scale-to-zero-pod-retention-period: 0s
    spec:
      containers:
      - image: {hello_image}
        livenessProbe: {{httpGet: {{path: /}}, periodSeconds: 1, failureThreshold: 1}}
""")
    platform = oci_platform
    await platform.succeed("apply", "-f", str(manifest))
    await until_frozen(platform)
    await asyncio.sleep(3)
    assert not await events(platform, "InstanceFailed")
    await platform.until_zero("hello")
    assert not await events(platform, "InstanceFailed")
    [ended] = [e for e in await platform.json("instances", "hello") if e["state"] == "stopped"]
    assert ended["exit"]["code"] == 0, "it ended by itself, on SIGTERM"


async def test_instances_that_keep_their_cpu_are_not_frozen(
    oci_platform: Platform, static_image: str
) -> None:
    platform = oci_platform
    flags = ["--image", static_image, "--no-cpu-throttling"]
    await platform.succeed("deploy", "hello", *flags)
    await asyncio.sleep(4 * REST)
    [instance] = await platform.alive("hello")
    assert not instance["frozen"]


async def test_a_start_takes_what_stands_by_and_a_restart_makes_it_anew(
    oci_platform: Platform, static_image: str
) -> None:
    platform = oci_platform
    flags = ["--image", static_image, "--window", "2s", "--scale-to-zero-grace", "0s"]
    await platform.succeed("deploy", "hello", *flags)

    async def is_standing() -> bool:
        return len(await standbys(platform)) == 1

    await platform.until_zero("hello")
    await platform.until(is_standing, 15)
    [waiting] = await standbys(platform)
    assert (await platform.get("hello"))[0] == 200
    [instance] = await platform.alive("hello")
    assert folder_of(platform, instance["id"]).name == waiting["id"]
    await platform.until(is_standing, 15)
    [other] = await standbys(platform)
    assert other["id"] != waiting["id"]

    platform.kill_node()
    await platform.up_again()
    await platform.until(is_standing, 15)
    assert (await standbys(platform))[0]["id"] != other["id"]
    assert not (platform.state / "oci/containers" / other["id"]).exists()

    await platform.succeed("deploy", "hello", *flags, "--standby", "0")
    await platform.until(lambda: nothing_stands(platform), 15)
    billed = await platform.succeed("bill", "hello", "--by", "instance")
    assert waiting["id"] not in re.split(r"\s+", billed)


async def nothing_stands(platform: Platform) -> bool:
    return not await standbys(platform)


async def test_a_read_only_instance_serves(oci_platform: Platform, static_image: str) -> None:
    await oci_platform.succeed("deploy", "hello", "--image", static_image, "--read-only-root")
    assert (await oci_platform.get("hello"))[0] == 200
