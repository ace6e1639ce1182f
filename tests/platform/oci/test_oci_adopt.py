"""The platform, conmon or the machine may die: what is found afterwards, and what is cleaned up."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from secrets import token_hex

import pytest
from tests.platform.oci.containers import Rig, containers, fetch

from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.oci import Oci, subnet

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STATE = f"test-adopt-{token_hex(4)}"  # names bridge and cgroups: no other run's


async def opened(state: Path, ahead: int = 1) -> Oci:
    driver = Oci(state, STATE, berths_ahead=ahead)
    await driver.open()
    return driver


async def test_a_new_platform_takes_over_what_runs(tmp_path: Path, image: str) -> None:
    first = Rig(await opened(tmp_path), image, tmp_path)
    running = await first.start()
    await fetch(running.address.host, running.address.port)
    await first.driver.close()
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")

    second = Rig(await opened(tmp_path), image, tmp_path)
    assert await second.driver.adopt() == [running]
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
    await second.driver.kill(running.instance)
    assert (await second.end_of(running.instance)).signal == signal.SIGKILL
    await second.driver.remove(running.instance)
    await second.driver.close()
    assert containers(tmp_path) == []


async def test_a_frozen_instance_is_taken_over_and_runs_on(tmp_path: Path, image: str) -> None:
    first = Rig(await opened(tmp_path), image, tmp_path)
    running = await first.start()
    await fetch(running.address.host, running.address.port)
    first.driver.cpu.freeze(running.instance)
    await first.driver.close()
    second = Rig(await opened(tmp_path), image, tmp_path)
    assert await second.driver.adopt() == [running]
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
    await second.driver.remove(running.instance)
    await second.driver.close()


async def test_a_log_and_an_exit_code_survive_the_platform(tmp_path: Path, image: str) -> None:
    first = Rig(await opened(tmp_path), image, tmp_path)
    running = await first.start(
        "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done"
    )
    await first.next_line(running.instance)
    await first.driver.close()
    second = Rig(await opened(tmp_path), image, tmp_path)
    await second.driver.adopt()
    await second.driver.signal_stop(running.instance)
    assert (await second.end_of(running.instance)).code == 7
    said = [line.text async for line in second.driver.logs(running.instance)]
    assert said == ["up", "bye"]
    await second.driver.remove(running.instance)
    await second.driver.close()


async def test_what_ended_meanwhile_is_removed_and_not_adopted(tmp_path: Path, image: str) -> None:
    first = Rig(await opened(tmp_path), image, tmp_path)
    running = await first.start("echo up; sleep 60")
    await first.next_line(running.instance)
    (folder,) = containers(tmp_path)
    process = int((folder / "container.pid").read_text())
    await first.driver.close()
    os.kill(process, signal.SIGKILL)
    second = Rig(await opened(tmp_path), image, tmp_path)
    assert await second.driver.adopt() == []
    assert containers(tmp_path) == []
    await second.driver.close()


async def test_what_a_crash_left_half_made_is_cleaned_up(tmp_path: Path, image: str) -> None:
    first = Rig(await opened(tmp_path, ahead=0), image, tmp_path)
    await first.driver.standby.keep(first.request(), 1)
    attachment = await first.driver.network.make()
    half_made = tmp_path / "oci/containers/half-made"
    (half_made / "writable").mkdir(parents=True)
    # As a kill -9 of the platform: nothing is closed.
    second = Rig(await opened(tmp_path), image, tmp_path)
    assert containers(tmp_path) == []
    assert not half_made.exists()
    assert not attachment.netns.exists()
    leases = [path for path in (tmp_path / "oci/network/leases").rglob("[0-9]*") if path.is_file()]
    assert len(leases) <= 1  # the new pool's
    await second.driver.close()


async def test_an_instance_lives_on_without_conmon_and_its_end_is_told(rig: Rig) -> None:
    running = await rig.start()
    await fetch(running.address.host, running.address.port)
    os.kill(rig.conmon_of(running.instance), signal.SIGKILL)
    end = asyncio.create_task(rig.end_of(running.instance))
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
    assert not end.done()
    await rig.driver.kill(running.instance)
    told = await end
    assert told.code is None
    assert "conmon" in told.reason


async def test_what_an_instance_writes_without_conmon_does_not_end_it(rig: Rig) -> None:
    running = await rig.start("echo up; while [ ! -e /tmp/go ]; do echo more; sleep 0.01; done")
    await rig.next_line(running.instance)
    os.kill(rig.conmon_of(running.instance), signal.SIGKILL)
    seen = 0
    async for line in rig.driver.logs(running.instance):
        seen += line.text == "more"
        if seen == 200:
            break
    await rig.driver.kill(running.instance)
    assert (await rig.end_of(running.instance)).code is None


async def test_an_instance_without_conmon_is_adopted_and_may_go_on_writing(
    tmp_path: Path, image: str
) -> None:
    first = Rig(await opened(tmp_path), image, tmp_path)
    running = await first.start(
        "echo up; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo more; sleep 60"
    )
    await first.next_line(running.instance)
    os.kill(first.conmon_of(running.instance), signal.SIGKILL)
    await first.driver.close()
    second = Rig(await opened(tmp_path), image, tmp_path)
    assert await second.driver.adopt() == [running]
    (folder,) = containers(tmp_path)
    process = (folder / "container.pid").read_text()
    await asyncio.to_thread(Path(f"/proc/{process}/root/tmp/go").touch)
    async with asyncio.timeout(10):
        said = second.driver.logs(running.instance)
        assert [(await anext(said)).text for _ in range(2)] == ["up", "more"]
    await second.driver.remove(running.instance)
    await second.driver.close()


async def test_a_machine_that_refuses_says_so_and_leaves_what_runs(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Rig(await opened(tmp_path), image, tmp_path)
    running = await first.start()
    await fetch(running.address.host, running.address.port)
    await first.driver.close()
    with monkeypatch.context() as patched:
        patched.setattr(subnet, "rules", lambda *_: "no rules at all\n")
        with pytest.raises(RuntimeUnavailable, match="iptables-restore"):
            await opened(tmp_path)
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")
    second = Rig(await opened(tmp_path), image, tmp_path)
    assert await second.driver.adopt() == [running]
    await second.driver.remove(running.instance)
    await second.driver.close()
