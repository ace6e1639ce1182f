"""Runs the programs that the oci runtime stands on; knows none of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, TypeVar

from windlass.runtime.oci.kernel import readable
from windlass.runtime.oci.launcher import HERE

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from windlass.runtime.oci.launcher import Launcher

T = TypeVar("T")

SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(Exception):
    """A program ended with a status other than 0; `message` is what it said."""

    def __init__(self, program: str, status: int, message: str) -> None:
        super().__init__(f"{program} ended with status {status}: {message}")
        self.program, self.status, self.message = program, status, message


def spawn(
    command: Sequence[str | Path],
    *,
    given: IO[bytes] | int = subprocess.DEVNULL,
    written: IO[bytes] | int = subprocess.DEVNULL,
    complaint: IO[bytes] | int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    kept: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a program with these files as its stdin, stdout and stderr; it keeps `kept` open, too.

    Not with asyncio: uvloop forks, which copies the page tables of the whole platform each time and
    costs ten times as much as the vfork of the standard library.
    """
    return subprocess.Popen(
        command, stdin=given, stdout=written, stderr=complaint, env=env, cwd=cwd, pass_fds=kept
    )


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Return a program's status once it has ended."""
    descriptor = os.pidfd_open(process.pid)
    try:
        await readable(descriptor)
    finally:
        os.close(descriptor)
    return process.wait()


async def run(
    *command: str | Path,
    given: bytes = b"",
    env: Mapping[str, str] | None = None,
    launcher: Launcher = HERE,
) -> bytes:
    """Run a program to its end with `given` as its input and return what it wrote.

    Raises:
        CommandFailed: its status was not 0.
    """
    # Files and no pipes: nobody has to read or write while the program runs.
    with _memory() as source, _memory() as written, _memory() as complaint:
        source.write(given)
        source.seek(0)
        process = launcher.call(
            spawn, command, given=source, written=written, complaint=complaint, env=env
        )
        try:
            status = await ended(process)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        if status:
            # CNI plugins put their errors on stdout.
            message = (_content(complaint) or _content(written)).decode(errors="replace").strip()
            raise CommandFailed(os.fspath(command[0]), status, message)
        return _content(written)


def _memory() -> IO[bytes]:
    return os.fdopen(os.memfd_create("windlass"), "w+b", buffering=0)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)  # of the program, too, which has the same one
    return file.read()


async def to_its_end(work: Coroutine[None, None, T]) -> T:
    """Await what must not be left half done: a cancellation is passed on once it is over."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
