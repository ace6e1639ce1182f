"""The machine is switched off, or everything of the platform is killed: the next start removes what
is left, and touches no process that has a number of ours by now."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import stop
from tests.platform.oci.containers import traces

from windlass.runtime.choose import identity
from windlass.runtime.oci.kernel import unmount
from windlass.runtime.oci.subnet import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def foreigner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any of this."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def containers(platform: Platform) -> list[Path]:
    return [record.parent for record in (platform.state / "oci/containers").glob("*/record.json")]


def written(platform: Platform) -> set[str]:
    """Return the instances in the ledger, as another process sees it."""
    uri = f"file:{platform.state / 'ledger.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as ledger:
        return {name for (name,) in ledger.execute("SELECT id FROM instances")}


def kill_everything(platform: Platform) -> None:
    """Kill node, workers, every conmon and every instance; nothing gets a chance to clean up."""
    platform.kill_node()
    pid_files = [*platform.state.glob("worker-*.pid")]
    for folder in containers(platform):
        pid_files += [folder / "conmon.pid", folder / "container.pid"]
    for file in pid_files:
        # One that was to stand by may be half made.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def switch_off(platform: Platform) -> None:
    """Take away what the kernel had: only files outlive a machine."""
    state = platform.state / "oci"
    for folder in containers(platform):
        unmount(folder / "rootfs")
        unmount(folder / "writable")
    for namespace in (state / "network/netns").iterdir():
        unmount(namespace)
    bridge = name_of(identity(platform.state))
    subprocess.run(["ip", "link", "delete", bridge], check=True)


@pytest.mark.parametrize("how", ["killed", "switched off"])
async def test_a_start_after_it_removes_what_is_left_and_touches_no_foreign_process(
    oci_platform: Platform, static_image: str, foreigner: subprocess.Popen[bytes], how: str
) -> None:
    platform = oci_platform
    await platform.succeed("deploy", "web", "--image", static_image, "--min-instances", "2")
    old = {each["id"] for each in await platform.alive("web")}
    folders = set(containers(platform))
    assert len(old) == 2
    assert len(folders) >= 2

    # Births are written at once; one that is not yet written is nobody's loss to tell.
    async def are_written() -> bool:
        return old <= written(platform)

    await platform.until(are_written, 20)

    kill_everything(platform)
    if how == "switched off":
        switch_off(platform)
    for folder in folders:
        for name in ("conmon.pid", "container.pid"):
            (folder / name).write_text(str(foreigner.pid))
    [worker] = platform.state.glob("worker-1.*.pid")
    worker.write_text(str(foreigner.pid))

    await platform.up_again()
    assert foreigner.poll() is None
    assert (await platform.get("web"))[0] == 200
    assert not folders & set(containers(platform))
    assert not old & {each["id"] for each in await platform.alive("web")}
    vanished = [e for e in await platform.json("events", "web") if e["kind"] == "InstanceVanished"]
    assert {event["instance"] for event in vanished} == old

    await stop(platform)
    assert foreigner.poll() is None
    assert containers(platform) == []
    assert traces(platform.state, name_of(identity(platform.state))) == []
