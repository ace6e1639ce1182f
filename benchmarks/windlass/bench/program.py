"""Runs a program of a measurement, such as a load generator, and returns what it printed."""

from __future__ import annotations

import asyncio


async def output_of(*words: str) -> str:
    """Return what a program printed on either stream; it is killed if we are cancelled.

    Raises:
        OSError: it could not be started.
    """
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return output.decode(errors="replace")
