"""crun and runc: either makes containers, and what one has made is not given to the other."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import Rig, fetch, traces

from windlass.runtime.base import StartFailed
from windlass.runtime.oci import Oci, engine, parts
from windlass.runtime.oci.commands import run
from windlass.runtime.oci.launcher import Launcher, has_both_versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STATE = f"test-engines-{token_hex(4)}"  # names bridge and cgroups: no other run's


@asynccontextmanager
async def rig_with(
    patch: pytest.MonkeyPatch, state: Path, image: str, *runtimes: str
) -> AsyncIterator[Rig]:
    """Open a driver on a machine that has these runtimes, to be tried in this order."""
    found = parts.locate()
    at = {Path(path).name: path for path in found.runtimes}
    changed = dataclasses.replace(found, runtimes=tuple(at[name] for name in runtimes))
    patch.setattr(parts, "locate", lambda: changed)
    driver = Oci(state, STATE, berths_ahead=1)
    await driver.open()
    patch.undo()
    try:
        yield Rig(driver, image, state)
    finally:
        await driver.close()


def kill_unseen(pid: int) -> None:
    """Kill a process and wait until it is gone, without a turn for the driver to see it."""
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.001)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_either_starts_stands_by_and_leaves_nothing(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    async with rig_with(monkeypatch, tmp_path, image, runtime) as rig:
        request = rig.request()
        await rig.driver.standby.keep(request, 1)
        stood_by = await rig.driver.start(request)
        assert rig.driver.standby.waiting(request.revision) == []
        made = await rig.start("echo up; exit 3")
        assert (await rig.end_of(made.instance)).code == 3
        assert (await fetch(stood_by.address.host, stood_by.address.port)).endswith(b"hello\n")
        await rig.driver.kill(stood_by.instance)
        assert (await rig.end_of(stood_by.instance)).signal == signal.SIGKILL
        assert (tmp_path / "oci/states" / runtime).is_dir()
        for each in (made, stood_by):
            await rig.driver.remove(each.instance)
        bridge = rig.driver.network.bridge
    assert traces(tmp_path, bridge) == []


async def test_a_platform_goes_on_with_the_runtime_that_made_what_lives(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig_with(monkeypatch, tmp_path, image, "runc") as first:
        running = await first.start()
        await fetch(running.address.host, running.address.port)
    async with rig_with(monkeypatch, tmp_path, image, "crun", "runc") as second:
        assert await second.driver.adopt() == [running]
        assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
        await second.driver.remove(running.instance)
    async with rig_with(monkeypatch, tmp_path, image, "crun", "runc") as third:
        instance = (await third.start()).instance
        assert list((tmp_path / "oci/states/crun").iterdir())
        await third.driver.remove(instance)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_a_container_that_died_while_it_stood_by_is_no_start(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    async with rig_with(monkeypatch, tmp_path, image, runtime) as rig:
        request = rig.request()
        await rig.driver.standby.keep(request, 1)
        (folder,) = rig.folders()
        monkeypatch.setattr(engine, "_RELEASED", 0.1)
        kill_unseen(int((folder / "container.pid").read_text()))
        with pytest.raises(StartFailed, match="does not answer"):
            await rig.driver.start(request)
        assert rig.folders() == []


@pytest.mark.skipif(not has_both_versions(), reason="this machine has one cgroup version")
async def test_only_what_is_launched_apart_lacks_version_2(tmp_path: Path) -> None:
    table = ("/bin/cat", "/proc/self/mounts")
    launcher = Launcher(hides_unified=True)
    try:
        apart = await run(*table, launcher=launcher)
        assert b" /sys/fs/cgroup/unified " not in apart
        assert b" /sys/fs/cgroup/memory " in apart
        assert b" /sys/fs/cgroup/unified " in await run(*table)
        assert launcher.call(Path.exists, tmp_path)
    finally:
        launcher.close()
