from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from windlass.bench.program import output_of


async def test_both_streams_are_returned_also_of_a_program_that_fails() -> None:
    assert await output_of("sh", "-c", "echo said; echo complained >&2; exit 3") == (
        "said\ncomplained\n"
    )


async def test_a_program_that_is_not_there_is_the_callers_affair() -> None:
    with pytest.raises(FileNotFoundError):
        await output_of("/nonexistent/load")


async def test_a_program_is_killed_with_whoever_waits_for_it(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    script = f"echo $$ > {written}.partial; mv {written}.partial {written}; exec sleep 600"
    waiting = asyncio.create_task(output_of("sh", "-c", script))
    async with asyncio.timeout(20):
        while not written.exists():  # noqa: ASYNC110  (another process makes it)
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        process = Path("/proc") / written.read_text().strip()
        while process.exists():  # noqa: ASYNC110  (the kernel and the loop's child watcher end it)
            await asyncio.sleep(0.01)
