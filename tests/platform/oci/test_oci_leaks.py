"""Nothing is left behind: neither by many lives, nor by starts that fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from tests.platform.oci.containers import Rig, fetch, mounts, parents, traces

from windlass.model.service import Container
from windlass.runtime.base import StartFailed

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CYCLES = int(os.environ.get("WINDLASS_CYCLES", "100"))


def counts(rig: Rig) -> dict[str, int]:
    """Count what belongs to this driver, and this process's open files."""
    state, bridge = str(rig.state_folder()), rig.driver.network.bridge
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    groups = [group for parent in parents(bridge) for group in parent.glob("*/")]
    return {
        "mounts": len(mounts(state)),
        "interfaces": len(list(Path(f"/sys/class/net/{bridge}/brif").iterdir())),
        "cgroups": len(groups),
        "leases": len(list((rig.state_folder() / "oci/network/leases").rglob("10.*"))),
        "processes": sum(state.encode() in _command(path) for path in processes),
        "files": len(os.listdir("/proc/self/fd")),
        "folders": len(rig.folders()),
    }


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


async def settled(rig: Rig, wanted: dict[str, int]) -> dict[str, int]:
    """Count until it is as wanted, for the pool is filled and the kernel cleans up behind us."""
    for _ in range(100):
        if counts(rig).items() >= wanted.items():
            break
        await asyncio.sleep(0.05)
    return counts(rig)


async def test_many_lives_leave_nothing(rig: Rig) -> None:
    async def life() -> None:
        running = await rig.start()
        await fetch(running.address.host, running.address.port)
        await rig.driver.kill(running.instance)
        await rig.driver.remove(running.instance)

    await life()
    pool = {"mounts": 1, "interfaces": 1, "leases": 1, "cgroups": 0, "processes": 1, "folders": 0}
    await settled(rig, pool)
    await asyncio.sleep(0.2)  # the last program's pipes are closed
    before = counts(rig)
    assert before.items() >= pool.items()
    for _ in range(CYCLES // 4):
        await asyncio.gather(*(life() for _ in range(4)))
    assert await settled(rig, before) == before


async def test_starts_that_fail_leave_nothing(rig: Rig) -> None:
    await rig.output("true")
    await asyncio.sleep(0.2)  # the last program's pipes are closed
    before = await settled(rig, counts(rig) | {"interfaces": 1, "leases": 1, "mounts": 1})
    for _ in range(3):
        with pytest.raises(StartFailed):
            await rig.start(container=Container(image=rig.image, command=("/no/such",)))
    assert await settled(rig, before) == before


async def test_a_start_that_is_given_up_leaves_nothing(rig: Rig) -> None:
    await rig.output("true")
    await asyncio.sleep(0.2)  # the last program's pipes are closed
    before = await settled(rig, counts(rig) | {"interfaces": 1, "leases": 1, "mounts": 1})
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05):
        start = asyncio.create_task(rig.start())
        await asyncio.sleep(delay)
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await rig.driver.remove((await start).instance)  # it was there in time
    assert await settled(rig, before) == before


async def test_a_closed_driver_without_instances_leaves_no_network(rig: Rig) -> None:
    await rig.output("true")
    bridge = rig.driver.network.bridge
    assert traces(rig.state_folder(), bridge)
    await rig.driver.close()
    assert traces(rig.state_folder(), bridge) == []
    await rig.driver.open()
