"""Runs the programs that the oci runtime stands on; knows none of them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

T = TypeVar("T")

SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(Exception):
    """A program ended with a status other than 0; `message` is what it said."""

    def __init__(self, program: str, status: int, message: str) -> None:
        super().__init__(f"{program} ended with status {status}: {message}")
        self.program, self.status, self.message = program, status, message


async def run(
    *command: str | Path, given: bytes = b"", env: Mapping[str, str] | None = None
) -> bytes:
    """Run a program to its end with `given` as its input and return what it wrote.

    Raises:
        CommandFailed: its status was not 0.
    """
    # A file and no pipe: uvloop raises when a program ends before it has read all that is given.
    with os.fdopen(os.memfd_create("given"), "w+b") as source:
        source.write(given)
        source.seek(0)
        process = await asyncio.create_subprocess_exec(
            *(os.fspath(word) for word in command),
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
    try:
        written, complaint = await process.communicate()
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        # CNI plugins put their errors on stdout.
        message = (complaint or written).decode(errors="replace").strip()
        raise CommandFailed(os.fspath(command[0]), process.returncode, message)
    return written


async def to_its_end(work: Coroutine[None, None, T]) -> T:
    """Await what must not be left half done: a cancellation is passed on once it is over."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
