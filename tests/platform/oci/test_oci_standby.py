"""Containers that are made ahead and not started."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.platform.oci.containers import Rig, fetch

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_start_takes_a_container_that_stands_by(rig: Rig) -> None:
    request = rig.request()
    await rig.driver.standby.keep(request, 2)
    assert len(rig.driver.standby.waiting(request.revision)) == 2
    made = {folder.name for folder in rig.folders()}
    running = await rig.driver.start(request)
    assert len(rig.driver.standby.waiting(request.revision)) == 1
    assert {folder.name for folder in rig.folders()} == made
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
    await rig.driver.standby.keep(request, 0)


async def test_a_container_that_stands_by_does_not_run_the_image(rig: Rig) -> None:
    request = rig.request("echo ran; sleep 60")
    await rig.driver.standby.keep(request, 1)
    (folder,) = rig.folders()
    assert b"sleep" not in command(int((folder / "container.pid").read_text()))
    assert (folder / "log/log").read_text() == ""
    await rig.driver.standby.keep(request, 0)
    assert rig.folders() == []


async def test_two_calls_at_once_make_no_more_than_asked(rig: Rig) -> None:
    request = rig.request()
    await asyncio.gather(*(rig.driver.standby.keep(request, 1) for _ in range(3)))
    assert len(rig.driver.standby.waiting(request.revision)) == 1
    await rig.driver.standby.keep(request, 0)


async def test_one_that_dies_while_it_stands_by_is_not_used_and_not_told(rig: Rig) -> None:
    request = rig.request()
    await rig.driver.standby.keep(request, 1)
    (folder,) = rig.folders()
    os.kill(int((folder / "container.pid").read_text()), signal.SIGKILL)
    for _ in range(500):
        if not len(rig.driver.standby.waiting(request.revision)):
            break
        await asyncio.sleep(0.01)
    running = await rig.driver.start(request)
    await rig.driver.kill(running.instance)
    assert (await rig.end_of(running.instance)).signal == signal.SIGKILL


async def test_closing_gives_up_what_stands_by(rig: Rig) -> None:
    await rig.driver.standby.keep(rig.request(), 1)
    await rig.driver.close()
    assert rig.folders() == []
    await rig.driver.open()
