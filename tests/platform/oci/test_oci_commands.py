"""Running programs, on both event loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from windlass.runtime.oci.commands import CommandFailed, run, to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def test_a_program_gets_what_is_given_and_its_output_is_returned() -> None:
    assert await run("/bin/cat", given=b"x" * 200_000) == b"x" * 200_000
    assert await run("/bin/cat") == b""


async def test_a_failure_has_the_status_and_what_the_program_said() -> None:
    with pytest.raises(CommandFailed) as fault:
        await run("/bin/sh", "-c", "echo why >&2; exit 3")
    assert (fault.value.status, fault.value.message) == (3, "why")


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_a_program_that_reads_nothing_of_what_is_given_just_fails(
    loop: Callable[[Coroutine[None, None, None]], None],
) -> None:
    async def often() -> None:
        for _ in range(20):
            with pytest.raises(CommandFailed):
                await run("/bin/false", given=b"x" * 200_000)

    loop(often())


async def test_a_cancellation_waits_for_work_that_must_not_be_left_half_done() -> None:
    done = []

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.append(True)

    task = asyncio.create_task(to_its_end(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
