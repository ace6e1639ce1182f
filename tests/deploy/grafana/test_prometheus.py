"""A real Prometheus scrapes a real run: every query of the dashboard and the alerts has data."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from tests.deploy.running import free_port

from windlass.deploy.grafana.files import files
from windlass.deploy.grafana.queries import ALERTS, PANELS, RATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"
WINDOW = "20s"  # of a rate, in which every wave of the load lies
QUERIES = [query for panel in PANELS for query, _ in panel.queries]
QUERIES += [alert.value for alert in ALERTS]


class Prometheus:
    """A running Prometheus that scrapes a platform once a second."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session, self.url = session, f"http://127.0.0.1:{port}"

    async def ask(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def values(self, query: str) -> list[float]:
        """Return the numbers that a query has now; what is no number is left out."""
        found = (await self.ask("query", query=query.replace(RATE, WINDOW)))["result"]
        numbers = [float(one["value"][1]) for one in found]
        return [number for number in numbers if math.isfinite(number)]

    async def is_up(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            return await self.values('up{job="windlass"}') == [1.0]
        return False


@contextlib.contextmanager
def prometheus(platform: Platform, folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus with the files as they are written, but for the interval."""
    folder.mkdir()
    for name, text in files(f"127.0.0.1:{platform.admin}").items():
        (folder / name).write_text(text)
    settings = yaml.safe_load((folder / "prometheus.yaml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield Prometheus(platform.session, port)
    finally:
        process.terminate()
        process.wait()


async def waves(platform: Platform) -> None:
    """Let requests come, some of which meet a cold start each time."""
    for at_once in range(1, 7):
        await asyncio.gather(
            *(
                platform.get(name, "/?ms=200")
                for name in ("shared", "alone")
                for _ in range(at_once)
            )
        )
        await asyncio.sleep(1.2)


async def test_every_query_has_data(process_platform: Platform, tmp_path: Path) -> None:
    platform = process_platform
    what = ["--exec", HELLO, "--no-deploy-health-check", "--budget", "5/day"]
    await platform.succeed("deploy", "shared", *what, "--concurrency", "1")
    await platform.succeed("deploy", "alone", *what, "--mode", "lambda")
    with prometheus(platform, tmp_path / "prometheus") as found:
        await platform.until(found.is_up, 30)
        await asyncio.sleep(1.5)
        await waves(platform)
        missing = set(QUERIES)

        async def all_have_data() -> bool:
            for query in list(missing):
                if await found.values(query):
                    missing.discard(query)
            return not missing

        with contextlib.suppress(AssertionError):
            await platform.until(all_have_data, 10)
        assert not missing
        await check_rules(found)
        await check_exposition(platform)


async def check_rules(found: Prometheus) -> None:
    """Prometheus itself evaluated each rule and had no fault."""
    [group] = (await found.ask("rules"))["groups"]
    assert {rule["name"] for rule in group["rules"]} == {alert.name for alert in ALERTS}
    assert {rule["health"] for rule in group["rules"]} == {"ok"}


async def check_exposition(platform: Platform) -> None:
    """`promtool check metrics` finds nothing to complain about in what a real run shows."""
    async with platform.session.get(f"http://127.0.0.1:{platform.admin}/metrics") as response:
        shown = await response.read()
    done = await asyncio.to_thread(
        subprocess.run, shlex.split("promtool check metrics"),
        input=shown, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_what_is_exported_is_told_once_per_service(process_platform: Platform) -> None:
    names: list[str] = []

    async def is_reported() -> bool:
        async with process_platform.session.get(
            f"http://127.0.0.1:{process_platform.admin}/metrics"
        ) as response:
            lines = [line for line in (await response.text()).splitlines() if line[:1] != "#"]
        names[:] = [line.rpartition(" ")[0] for line in lines]
        return json.dumps(names).count("shared") > 10

    await process_platform.succeed("deploy", "shared", "--exec", HELLO)
    await process_platform.get("shared")
    await process_platform.until(is_reported, 20.0)
    assert len(names) == len(set(names))
