"""Liveness and readiness probes of a manifest, as a user sees them at work."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from tests.deploy.steady import steady

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Answers a probe with 503 while the file named like it is there and holds this instance's pid.
SERVER = textwrap.dedent("""
    import http.server, os, pathlib

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            sign = pathlib.Path("FOLDER" + self.path)
            sick = sign.is_file() and sign.read_text() == str(os.getpid())
            body = str(os.getpid()).encode()
            self.send_response(503 if sick else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    address = os.environ["HOST"], int(os.environ["PORT"])
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()
""")

# A server of gRPC's health protocol: a service is not serving while a file is named like it.
HEALTH = textwrap.dedent("""
    import concurrent.futures, grpc, os, pathlib

    def check(request, context):
        name = request[2:].decode()  # HealthCheckRequest of one short string
        with open("FOLDER/asked", "a") as asked:
            asked.write(name + " ")
        return bytes([8, 2 if pathlib.Path("FOLDER", name).is_file() else 1])

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(os.environ["HOST"] + ":" + os.environ["PORT"])
    server.start()
    server.wait_for_termination()
""")

Check = dict[str, object]


async def deploy(
    platform: Platform, folder: Path, server: str, instances: int, **checks: Check
) -> None:
    """Deploy instances that are probed every second."""
    (folder / "server.py").write_text(server.replace("FOLDER", str(folder)))
    manifest = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "app"},
        "spec": {
            "template": {
                "metadata": {
                    "annotations": {
                        "autoscaling.knative.dev/minScale": str(instances),
                        "windlass.dev/exec": f"{sys.executable} {folder / 'server.py'}",
                    }
                },
                "spec": {
                    "containers": [
                        {
                            name: {"periodSeconds": 1, "failureThreshold": 2, **check}
                            for name, check in checks.items()
                        }
                    ]
                },
            }
        },
    }
    (folder / "service.yaml").write_text(json.dumps(manifest))
    await platform.succeed("apply", "-f", str(folder / "service.yaml"))


async def until_event(platform: Platform, kind: str, count: int = 1) -> str:
    """Wait for a service's event; return the last one's message."""
    found: list[str] = []

    async def is_told() -> bool:
        events = await platform.json("events", "app")
        found[:] = [event["message"] for event in events if event["kind"] == kind]
        return len(found) >= count

    await platform.until(is_told, 20)
    return found[-1]


async def servers(platform: Platform, requests: int = 20) -> set[str]:
    """Return who answers so many requests at once."""
    answers = await asyncio.gather(*(platform.get("app") for _ in range(requests)))
    assert {status for status, _ in answers} == {200}
    return {body for _, body in answers}


async def test_a_sick_instance_is_left_out_or_replaced_and_no_request_is_lost(
    process_platform: Platform, tmp_path: Path
) -> None:
    platform = process_platform
    alive: Check = {"httpGet": {"path": "/alive"}}
    ready: Check = {"httpGet": {"path": "/ready"}}
    await deploy(platform, tmp_path, SERVER, 2, livenessProbe=alive, readinessProbe=ready)
    await until_event(platform, "InstanceReady", 2)
    chosen = (await platform.get("app"))[1]  # the pool fills one before the other

    (tmp_path / "ready").write_text(chosen)
    message = await until_event(platform, "InstanceUnready")
    assert "readiness probe (http GET /ready) failed 2 times in a row" in message
    async with steady(platform, "app", "/", 50) as load:
        assert chosen not in await servers(platform)
        assert len(await platform.alive("app")) == 2
        (tmp_path / "ready").unlink()
        await until_event(platform, "InstanceReadyAgain")
        other = (await servers(platform)).pop()
        (tmp_path / "ready").write_text(other)
        await until_event(platform, "InstanceUnready", 2)
        assert await servers(platform) == {chosen}
        (tmp_path / "ready").unlink()
        await until_event(platform, "InstanceReadyAgain", 2)
    assert load.failed == {}

    (tmp_path / "alive").write_text(chosen)
    message = await until_event(platform, "InstanceFailed")
    assert "liveness probe (http GET /alive) failed 2 times in a row" in message
    await until_event(platform, "InstanceReady", 3)
    assert chosen not in await servers(platform)


async def test_a_grpc_server_says_itself_whether_it_is_healthy(
    process_platform: Platform, tmp_path: Path
) -> None:
    platform = process_platform
    names = {"startupProbe": "boot", "livenessProbe": "life", "readinessProbe": "shop.Orders"}
    probes: dict[str, Check] = {probe: {"grpc": {"service": name}} for probe, name in names.items()}
    probes["startupProbe"]["failureThreshold"] = 60
    (tmp_path / "boot").touch()
    asked = tmp_path / "asked"

    async def is_asked_again() -> bool:
        return asked.is_file() and asked.read_text().count("boot") > 2

    async with asyncio.TaskGroup() as group:
        deploying = group.create_task(deploy(platform, tmp_path, HEALTH, 1, **probes))
        await platform.until(is_asked_again, 20)
        assert not deploying.done()
        (tmp_path / "boot").unlink()
    assert set(asked.read_text().split()) >= {"boot", "shop.Orders"}

    (tmp_path / "shop.Orders").touch()
    message = await until_event(platform, "InstanceUnready")
    assert "readiness probe (grpc shop.Orders) failed 2 times in a row" in message
    (tmp_path / "shop.Orders").unlink()
    await until_event(platform, "InstanceReadyAgain")

    (tmp_path / "life").touch()
    message = await until_event(platform, "InstanceFailed")
    assert "liveness probe (grpc life) failed 2 times in a row" in message
