"""Reads the log file that conmon writes, in the format of Kubernetes' container logs; does not
know whose it is."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from typing import IO, TYPE_CHECKING

from windlass.runtime.base import LogLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from windlass.runtime.oci.changes import Changes

MAXIMUM = 16 * 1024**2  # bytes of one instance's log; then conmon begins it anew


class Joiner:
    """Makes lines of a log's records: `TIME stdout|stderr P|F TEXT`, P for a part of a line."""

    def __init__(self) -> None:
        self._parts: dict[bytes, list[bytes]] = {b"stdout": [], b"stderr": []}

    def lines(self, record: bytes) -> Iterator[LogLine]:
        """Yield the line that this record completes, if it completes one."""
        fields = record.split(b" ", 3)
        if len(fields) != 4 or fields[1] not in self._parts:
            return  # cut off when conmon began the file anew
        time, stream, tag, text = fields
        parts = self._parts[stream]
        parts.append(text)
        if tag == b"F":
            yield LogLine(
                datetime.fromisoformat(time.decode()).timestamp(),
                "stderr" if stream == b"stderr" else "stdout",
                b"".join(parts).decode(errors="replace"),  # whole: a cut may split a character
            )
            parts.clear()


async def follow(path: Path, ended: asyncio.Event, changes: Changes) -> AsyncIterator[LogLine]:
    """Yield all lines of a log, then each new one until the instance has ended."""
    joiner = Joiner()
    with changes.of(path.parent) as changed:
        file = path.open("rb")
        try:
            while True:
                changed.clear()
                over = ended.is_set()  # before reading: what came until then is in the file
                for record in _records(file):
                    for line in joiner.lines(record):
                        yield line
                if _replaced(file, path):
                    file.close()
                    file = path.open("rb")
                elif over:
                    return
                else:
                    await _either(changed, ended)
        finally:
            file.close()


def _records(file: IO[bytes]) -> Iterator[bytes]:
    while record := file.readline():
        if not record.endswith(b"\n"):
            file.seek(-len(record), 1)  # half-written: once more when the rest is there
            return
        yield record[:-1]


def _replaced(file: IO[bytes], path: Path) -> bool:
    there = path.stat()
    return os.fstat(file.fileno()).st_ino != there.st_ino or there.st_size < file.tell()


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
