"""Takes over the output of an instance whose conmon was killed: nobody would read what it writes,
and its next line would end it."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from windlass.runtime.oci.kernel import readable
from windlass.runtime.oci.logs import MAXIMUM

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 65536


def records(chunk: bytes, stream: str, moment: datetime) -> bytes:
    """Return a piece of output in the form of the log: P for a line that is not yet at its end."""
    head = f"{moment.isoformat(timespec='microseconds')} {stream}".encode()
    *lines, rest = chunk.split(b"\n")
    whole = [head + b" F " + line + b"\n" for line in lines]
    return b"".join(whole) + (head + b" P " + rest + b"\n" if rest else b"")


async def drain(process: int, log: Path) -> None:
    """Write on to the log what the process writes, until it closes both streams."""
    await asyncio.gather(_copy(process, 1, "stdout", log), _copy(process, 2, "stderr", log))


async def _copy(process: int, number: int, stream: str, log: Path) -> None:
    source = f"/proc/{process}/fd/{number}"
    try:
        if not stat.S_ISFIFO(os.stat(source).st_mode):
            return  # it writes elsewhere
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # it is gone
    try:
        while True:
            await readable(descriptor)
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                return
            _append(log, records(chunk, stream, datetime.now(UTC)))
    finally:
        os.close(descriptor)


def _append(log: Path, text: bytes) -> None:
    if log.stat().st_size > MAXIMUM:
        log.unlink()  # begun anew, as conmon does
    with log.open("ab") as file:
        file.write(text)
