"""Instances that end by themselves: who is told what, and who serves the next request."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from windlass.runtime import cgroups

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVER = textwrap.dedent("""
    import http.server, os, time

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/exit":
                os._exit(7)
            if self.path == "/abort":
                os.abort()
            if self.path == "/eat":
                kept = [bytearray(8 << 20) for _ in range(100)]
            if self.path == "/wait":
                time.sleep(30)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    address = os.environ["HOST"], int(os.environ["PORT"])
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()
""")


@pytest.fixture
def command(tmp_path: Path) -> str:
    file = tmp_path / "server.py"
    file.write_text(SERVER)
    return f"{sys.executable} {file}"


async def failure(platform: Platform) -> dict[str, Any]:
    """Return the event of the first instance that failed."""
    found: list[dict[str, Any]] = []

    async def is_told() -> bool:
        events = await platform.json("events", "app")
        found.extend(event for event in events if event["kind"] == "InstanceFailed")
        return bool(found)

    await platform.until(is_told, 10)
    return found[0]


@pytest.mark.parametrize(
    ("path", "how"), [("/exit", "exit code 7"), ("/abort", "signal 6 (SIGABRT)")]
)
async def test_a_crash_ends_all_its_requests_with_a_reason_and_the_next_is_served_by_another(
    process_platform: Platform, command: str, path: str, how: str
) -> None:
    platform = process_platform
    await platform.succeed("deploy", "app", "--exec", command)
    [old] = await platform.alive("app")
    waiting = [asyncio.create_task(platform.get("app", "/wait")) for _ in range(4)]

    async def arrived() -> bool:
        return bool(sum(i["in_flight"] for i in await platform.alive("app")) == 4)

    await platform.until(arrived, 10)
    answers = [await platform.get("app", path), *(await asyncio.gather(*waiting))]
    assert [status for status, _ in answers] == [502] * 5
    for _, body in answers:
        problem = json.loads(body)
        assert problem["service"] == "app"
        assert problem["detail"]

    event = await failure(platform)
    assert event["instance"] == old["id"]
    assert event["level"] == "warning"
    assert how in event["message"]
    assert (await platform.get("app"))[0] == 200
    assert old["id"] not in {i["id"] for i in await platform.alive("app")}


async def test_an_instance_over_its_memory_is_told_with_its_limit(
    process_platform: Platform, command: str
) -> None:
    groups = cgroups.find("windlass-test-probe")
    if groups is None:
        pytest.skip("no control group can be made here: memory limits are not enforced")
    groups.remove_parents()
    platform = process_platform
    await platform.succeed("deploy", "app", "--exec", command, "--memory", "128Mi")
    status, _ = await platform.get("app", "/eat")
    assert status == 502
    event = await failure(platform)
    assert "out of memory" in event["message"]
    assert "128 MiB" in event["message"]
    assert (await platform.get("app"))[0] == 200
