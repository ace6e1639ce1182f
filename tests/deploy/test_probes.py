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


async def deploy(platform: Platform, folder: Path) -> None:
    """Deploy two instances that are probed every second."""
    (folder / "server.py").write_text(SERVER.replace("FOLDER", str(folder)))

    def probe(path: str) -> dict[str, object]:
        return {"httpGet": {"path": path}, "periodSeconds": 1, "failureThreshold": 2}

    manifest = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "app"},
        "spec": {
            "template": {
                "metadata": {
                    "annotations": {
                        "autoscaling.knative.dev/minScale": "2",
                        "windlass.dev/exec": f"{sys.executable} {folder / 'server.py'}",
                    }
                },
                "spec": {
                    "containers": [
                        {
                            "livenessProbe": probe("/alive"),
                            "readinessProbe": probe("/ready"),
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
    await deploy(platform, tmp_path)
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
