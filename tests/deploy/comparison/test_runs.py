"""Runs and their processes: one at a time, and nothing is left behind whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from windlass.bench.compare import Settings
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.comparison.runs import KEPT, Runs
from windlass.deploy.comparison.settings import Asked
from windlass.model.service import Container, Template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from windlass.deploy.comparison.views import RunView

ASKED = Asked(Settings(image="x"), Template(container=Container(image="x")))
DEPLOYS = 'print(\'{"type":"told","mode":"cloudrun","stage":"deploy","service":"compare-x"}\')'
ENDS = 'print(\'{"type":"ended","ratio":2.0,"said":["so"],"rows":[]}\')'
READS = "import json, sys, time; job = json.loads(sys.stdin.readline())"
REPORTS = 'open(job["report"], "w").write("<p>")'


@dataclass
class Services:
    """Those that are there; deleting any other is refused as the platform does."""

    there: set[str] = field(default_factory=lambda: {"compare-x"})

    async def delete(self, name: str) -> None:
        if name not in self.there:
            raise Refused(problem(404, "no-such-service", "there is none"))
        self.there.remove(name)


def runs(directory: Path, services: Services, *lines: str) -> Runs:
    """Return runs whose process is a script of these lines."""
    script = "\n".join([READS, *lines, "sys.stdout.flush()"])
    return Runs(directory, "http://x", services.delete, (sys.executable, "-uc", script))


@asynccontextmanager
async def begun(found: Runs) -> AsyncIterator[RunView]:
    """Start a run, and see that none goes on afterwards."""
    found.open()
    run = await found.start(ASKED)
    yield run
    await found.close()
    assert run.state != "running"


async def until_over(run: RunView) -> None:
    async with asyncio.timeout(20):
        while run.state == "running":  # noqa: ASYNC110  (a process ends it)
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)  # cleaned up


async def until_deployed(run: RunView) -> None:
    async with asyncio.timeout(20):
        while not run.services:  # noqa: ASYNC110  (a process says it)
            await asyncio.sleep(0.02)


async def test_a_run_that_ends_has_a_report_that_outlives_the_platform(tmp_path: Path) -> None:
    services = Services(there=set())
    found = runs(tmp_path, services, DEPLOYS, REPORTS, ENDS)
    async with begun(found) as run:
        await until_over(run)
        assert (run.state, run.services) == ("ended", ["compare-x"])
    again = runs(tmp_path, services)
    again.open()
    assert again.known == [run]
    report = again.report(run.id)
    assert report is not None
    assert report.read_text() == "<p>"
    assert again.report("../../etc") is None


async def test_only_one_goes_on_at_a_time(tmp_path: Path) -> None:
    found = runs(tmp_path, Services(), "time.sleep(60)")
    async with begun(found):
        with pytest.raises(Refused, match="runs already"):
            await found.start(ASKED)
        assert len(found.known) == 1


async def test_two_that_start_at_the_same_moment_are_one(tmp_path: Path) -> None:
    found = runs(tmp_path, Services(), "time.sleep(60)")
    both = await asyncio.gather(found.start(ASKED), found.start(ASKED), return_exceptions=True)
    assert sum(isinstance(one, Refused) for one in both) == 1
    await found.close()


async def test_what_a_cancelled_run_left_is_deleted(tmp_path: Path) -> None:
    services = Services()
    found = runs(tmp_path, services, DEPLOYS, "time.sleep(60)")
    async with begun(found) as run:
        await until_deployed(run)
        await found.cancel()
        assert (run.state, services.there) == ("cancelled", set())
        assert await found.start(ASKED)  # another one may start


async def test_a_process_that_breaks_down_is_said_and_cleaned_up_after(tmp_path: Path) -> None:
    services = Services()
    found = runs(tmp_path, services, DEPLOYS, "sys.exit('no more memory')")
    async with begun(found) as run:
        await until_over(run)
        assert run.state == "failed"
        assert "code 1" in run.why
        assert "no more memory" in run.why
        assert services.there == set()


async def test_a_process_that_talks_nonsense_is_ended(tmp_path: Path) -> None:
    services = Services()
    found = runs(tmp_path, services, DEPLOYS, "print('what?')", "time.sleep(60)")
    async with begun(found) as run:
        await until_over(run)
        assert (run.state, services.there) == ("failed", set())


async def test_the_platform_s_end_is_the_run_s_end(tmp_path: Path) -> None:
    services = Services()
    found = runs(tmp_path, services, DEPLOYS, "time.sleep(60)")
    run = await found.start(ASKED)
    await until_deployed(run)
    await found.close()
    assert (run.state, services.there) == ("cancelled", set())


async def test_what_a_killed_platform_left_is_deleted_at_the_next_start(tmp_path: Path) -> None:
    services = Services()
    found = runs(tmp_path, services, DEPLOYS, "time.sleep(60)")
    run = await found.start(ASKED)
    await until_deployed(run)
    again = runs(tmp_path, services)  # as after kill -9: only what was written down is known
    again.open()
    async with asyncio.timeout(5):
        while services.there:  # noqa: ASYNC110  (a task deletes it)
            await asyncio.sleep(0.02)
    assert again.known[0].state == "failed"
    assert "stopped meanwhile" in again.known[0].why
    await again.close()
    await found.close()


async def test_a_setting_that_makes_no_sense_starts_nothing(tmp_path: Path) -> None:
    found = runs(tmp_path, Services())
    with pytest.raises(Refused, match="path must begin with /"):
        await found.start(Asked(Settings(image="x", path="x"), ASKED.template))
    assert found.known == []
    assert os.listdir(tmp_path) == []


async def test_only_the_latest_are_kept(tmp_path: Path) -> None:
    found = runs(tmp_path, Services(there=set()), REPORTS, ENDS)
    for _ in range(KEPT + 2):
        await until_over(await found.start(ASKED))
    assert len(found.known) == len(os.listdir(tmp_path)) == KEPT


async def test_a_record_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "run.json").write_text("{")
    found = runs(tmp_path, Services())
    found.open()
    assert found.known == []
