from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.choose import DRIVERS, choose, identity
from windlass.runtime.fake import FakeRuntime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windlass.runtime.base import Runtime

    Driver = Callable[[Path, str], Runtime]


class Absent(FakeRuntime):
    """A runtime whose engine does not answer."""

    async def open(self) -> None:
        raise RuntimeUnavailable("it does not answer", "start it")


def works(state: Path, state_id: str) -> Runtime:
    return FakeRuntime()


def absent(state: Path, state_id: str) -> Runtime:
    return Absent()


async def test_the_first_that_opens_is_chosen_and_the_log_says_why(tmp_path: Path) -> None:
    drivers: dict[str, Driver] = {"oci": absent, "docker": works, "process": absent}
    with capture_logs() as logs:
        runtime = await choose("auto", tmp_path, drivers)
    assert isinstance(runtime, FakeRuntime)
    [line] = [line for line in logs if line["event"] == "runtime chosen"]
    assert line["runtime"] == "docker"
    assert line["why"] == "not oci: it does not answer: start it"


async def test_what_is_asked_for_is_not_replaced(tmp_path: Path) -> None:
    drivers: dict[str, Driver] = {"docker": absent, "process": works}
    with pytest.raises(RuntimeUnavailable, match="it does not answer: start it"):
        await choose("docker", tmp_path, drivers)
    with capture_logs() as logs:
        await choose("process", tmp_path, drivers)
    assert logs[0]["why"] == "as asked"
    assert "--exec" in logs[1]["event"]


async def test_where_nothing_works_every_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable) as told:
        await choose("auto", tmp_path, {"docker": absent, "process": absent})
    assert "not docker: it" in told.value.detail
    assert "not process: it" in told.value.detail


async def test_process_is_opened_for_real(tmp_path: Path) -> None:
    runtime = await choose("process", tmp_path)
    assert runtime.name == "process"
    await runtime.close()


def test_processes_are_the_last_resort() -> None:
    assert list(DRIVERS) == ["oci", "docker", "process"]


def test_two_state_folders_are_two_platforms(tmp_path: Path) -> None:
    assert identity(tmp_path / "a") != identity(tmp_path / "b")
    assert identity(tmp_path / "a") == identity(tmp_path / "b" / ".." / "a")
