"""A full disk under the state folder: requests are served on, it is said, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import Platform, start_platform, stop
from tests.deploy.steady import steady

from windlass.billing.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"


@pytest.fixture
async def small_platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform whose state is on a disk of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not is_mounted(disk):
        pytest.skip("only root can mount a small disk")
    (disk / "up.log").symlink_to(tmp_path / "up.log")  # what it says is kept elsewhere
    try:
        platform = await start_platform(disk, "--runtime", "process")
        yield platform
        await stop(platform)
    finally:
        unmount(disk)


def is_mounted(disk: Path) -> bool:
    """Mount a small disk, if that can be done here."""
    words = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "windlass-test", str(disk)]
    return os.geteuid() == 0 and subprocess.run(words, check=False).returncode == 0


def unmount(disk: Path) -> None:
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave not a byte free; return the file that fills the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


async def test_a_full_disk_stops_no_request_is_said_and_loses_no_usage(
    small_platform: Platform,
) -> None:
    platform = small_platform
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--min-instances", "1")
    async with steady(platform, "hello", "/?ms=20", 50) as load:
        filler = fill(platform.state)

        async def is_said() -> bool:
            return "ledger cannot be written" in platform.log()

        try:
            await platform.until(is_said, 20)
            refused = await platform.run("deploy", "hello", "--exec", HELLO, "--cpu", "0.5")
            unkept = await platform.run(
                "deploy", "hello", "--exec", HELLO, "--cpu", "0.5", "--no-deploy-health-check"
            )
            assert {i["revision"] for i in await platform.alive("hello")} == {"hello-00001"}
        finally:
            filler.unlink()

        async def is_written_again() -> bool:
            return "ledger is written again" in platform.log()

        await platform.until(is_written_again, 20)
    for done in (refused, unkept):
        assert done.returncode == 1
        assert "is the disk full?" in done.stderr.lower()
        assert "Traceback" not in done.stderr
    assert "Traceback" not in platform.log()
    await platform.succeed("deploy", "hello", "--exec", HELLO, "--cpu", "0.5")
    assert load.failed == {}

    await stop(platform)
    ledger = Ledger(platform.state / "ledger.db")
    assert ledger.usage(0, time.time() + 60).total().requests == load.sent
    ledger.close()
