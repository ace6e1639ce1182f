"""The oci runtime runs real containers: their contract, their ends, their logs."""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.platform.oci.containers import Rig, fetch

from windlass.model.service import Container
from windlass.runtime.base import ImageMissing, StartFailed

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_an_image_of_a_web_server_serves_as_it_is(rig: Rig) -> None:
    running = await rig.start()
    assert (await fetch(running.address.host, running.address.port)).endswith(b"hello\n")


async def test_the_environment_is_the_images_then_the_services_then_the_contracts(rig: Rig) -> None:
    container = Container(
        image=rig.image,
        command=("/bin/env",),
        env=(("COLOR", "red"), ("K_SERVICE", "mine"), ("EXTRA", "a=b c")),
        port=9000,
    )
    said = set((await rig.output(container=container)).splitlines())
    assert {"COLOR=red", "EXTRA=a=b c", "PATH=/bin", "PORT=9000"} <= said
    assert {"K_SERVICE=web", "K_REVISION=web-00001", "K_CONFIGURATION=web"} <= said


async def test_the_working_folder_is_the_images_unless_the_service_names_one(rig: Rig) -> None:
    assert await rig.output("pwd") == "/www"
    named = Container(image=rig.image, command=("/bin/pwd",), working_dir="/home")
    assert await rig.output(container=named) == "/home"


async def test_stdin_is_at_its_end(rig: Rig) -> None:
    assert await rig.output("cat; echo over") == "over"


@pytest.mark.parametrize("code", [0, 3])
async def test_an_exit_code_is_told(rig: Rig, code: int) -> None:
    running = await rig.start(f"exit {code}")
    exit_ = await rig.end_of(running.instance)
    assert (exit_.code, exit_.signal, exit_.out_of_memory) == (code, None, False)


async def test_sigterm_reaches_the_program_which_may_end_in_its_own_way(rig: Rig) -> None:
    running = await rig.start("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    await rig.next_line(running.instance)
    await rig.driver.signal_stop(running.instance)
    assert (await rig.end_of(running.instance)).code == 7


async def test_sigkill_ends_what_ignores_sigterm(rig: Rig) -> None:
    running = await rig.start("trap '' TERM; echo up; sleep 60")
    await rig.next_line(running.instance)
    await rig.driver.signal_stop(running.instance)
    await rig.driver.kill(running.instance)
    assert (await rig.end_of(running.instance)).signal == signal.SIGKILL


async def test_a_frozen_instance_does_nothing_until_thawed(rig: Rig) -> None:
    running = await rig.start()
    await fetch(running.address.host, running.address.port)
    rig.driver.cpu.freeze(running.instance)
    answer = asyncio.create_task(fetch(running.address.host, running.address.port))
    done, _ = await asyncio.wait([answer], timeout=0.2)
    assert not done
    rig.driver.cpu.thaw(running.instance)
    assert (await answer).endswith(b"hello\n")


async def test_a_frozen_instance_can_be_stopped(rig: Rig) -> None:
    running = await rig.start("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    await rig.next_line(running.instance)
    rig.driver.cpu.freeze(running.instance)
    await rig.driver.signal_stop(running.instance)
    assert (await rig.end_of(running.instance)).code == 7


async def test_a_frozen_instance_can_be_killed(rig: Rig) -> None:
    running = await rig.start("sleep 60")
    rig.driver.cpu.freeze(running.instance)
    await rig.driver.kill(running.instance)
    assert (await rig.end_of(running.instance)).signal == signal.SIGKILL


async def test_both_streams_are_logged_with_their_times_and_names(rig: Rig) -> None:
    running = await rig.start("echo out; echo err >&2; echo -n unfinished")
    await rig.end_of(running.instance)
    lines = [line async for line in rig.driver.logs(running.instance)]
    assert {(line.stream, line.text) for line in lines} >= {("stdout", "out"), ("stderr", "err")}
    assert all(line.time > 1_600_000_000 for line in lines)


async def test_a_long_line_stays_one_line(rig: Rig) -> None:
    text = await rig.output("head -c 100000 /dev/zero | tr '\\0' x; echo")
    assert text == "x" * 100_000


async def test_a_log_is_followed_while_it_is_written(rig: Rig) -> None:
    running = await rig.start("echo one; cat /proc/self/mounts >/dev/null; sleep 0.3; echo two")
    assert [line.text async for line in rig.driver.logs(running.instance)] == ["one", "two"]


async def test_a_program_that_is_not_in_the_image_fails_the_start_by_name(rig: Rig) -> None:
    container = Container(image=rig.image, command=("/bin/nothing-of-the-kind",))
    with pytest.raises(StartFailed, match="nothing-of-the-kind"):
        await rig.start(container=container)
    assert rig.driver.instances() == []


async def test_an_unknown_image_is_missing_with_the_next_step(rig: Rig) -> None:
    with pytest.raises(ImageMissing, match="Check the path"):
        await rig.driver.prepare(Container(image="oci:/no/such/layout:latest"))


async def test_stopping_what_is_gone_is_no_fault(rig: Rig) -> None:
    for step in (rig.driver.signal_stop, rig.driver.kill, rig.driver.remove):
        await step("web-00001-gone")
    rig.driver.cpu.freeze("web-00001-gone")
    rig.driver.cpu.thaw("web-00001-gone")
    rig.driver.cpu.limit("web-00001-gone", 100)
