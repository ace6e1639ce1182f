"""What instances print, through the whole platform: merged, followed, bounded, understood."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVER = textwrap.dedent("""
    import http.server, json, os, sys, time

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/json":
                trace = self.headers["traceparent"].split("-")[1]
                line = {"severity": "ERROR", "message": "no such order", "order": 7}
                line["logging.googleapis.com/trace"] = "projects/p/traces/" + trace
                print(json.dumps(line), flush=True)
            if self.path == "/many":
                for number in range(60_000):
                    print(number, "x" * 90)
                print("the last one", flush=True)
            if self.path == "/slow":
                print("slow at", time.time_ns(), flush=True)
                time.sleep(0.05)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words):
            pass

    address = os.environ["HOST"], int(os.environ["PORT"])
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()
""")


@pytest.fixture
async def app(process_platform: Platform, tmp_path: Path) -> Platform:
    """A platform with a service of two instances that print."""
    file = tmp_path / "server.py"
    file.write_text(SERVER)
    await process_platform.succeed(
        "deploy", "app", "--exec", f"{sys.executable} {file}", "--min-instances", "2",
        "--concurrency", "1", "--max-instances", "2",
    )  # fmt: skip
    return process_platform


async def test_followed_lines_of_two_instances_come_in_the_order_in_which_they_were_printed(
    app: Platform,
) -> None:
    following = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "windlass.deploy.cli", "logs", "app", "-f", "--json"),
        env={**os.environ, "WINDLASS_SERVER": f"http://127.0.0.1:{app.admin}"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert following.stdout
    lines: list[dict[str, Any]] = []
    try:
        await asyncio.sleep(2)  # it has connected, or reads what was printed before
        answers = await asyncio.gather(*(app.get("app", "/slow") for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        async with asyncio.timeout(30):
            while len(lines) < 20:
                line = json.loads(await following.stdout.readline())
                lines += [line] if line["text"].startswith("slow") else []
    finally:
        following.kill()
        await following.communicate()
    assert len({line["instance"] for line in lines}) == 2
    printed = [int(line["text"].split()[2]) for line in lines]
    # Printed and read are two moments: what is printed in the same milliseconds may change places.
    assert all(later > earlier - 50_000_000 for earlier, later in pairwise(printed))
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


async def test_a_line_of_json_is_understood(app: Platform) -> None:
    url = f"http://127.0.0.1:{app.http}/json"
    headers = {"Host": "app.localhost", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    async with app.session.get(url, headers=headers) as response:
        assert response.status == 200

    async def is_kept() -> bool:
        return bool(await app.lines("app"))

    await app.until(is_kept, 10)
    [line] = await app.lines("app")
    assert (line["severity"], line["message"], line["trace"]) == ("ERROR", "no such order", TRACE)
    assert json.loads(line["text"])["order"] == 7
    assert " ERROR no such order\n" in await app.succeed("logs", "app", "--severity", "warning")
    assert await app.succeed("logs", "app", "--severity", "critical") == ""
    assert "no such order" in await app.succeed("logs", "app", "--trace", TRACE)
    assert await app.succeed("logs", "app", "--trace", TRACE[::-1]) == ""


async def test_what_is_kept_of_a_talkative_instance_is_bounded_and_the_newest(
    app: Platform,
) -> None:
    assert (await app.get("app", "/many"))[0] == 200

    async def is_kept() -> bool:
        return "the last one" in await app.succeed("logs", "app", "--tail", "3")

    await app.until(is_kept, 30)
    files = list((app.state / "logs/app").iterdir())
    assert {path.suffix for path in files} == {".log", ".old"}
    assert sum(path.stat().st_size for path in files) < 5 * 1024**2
