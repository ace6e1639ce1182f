"""What a child process writes, as lines: read from its pipes, kept within bounds, followed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Literal

from windlass.runtime.base import LogLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LINE_LIMIT = 64 * 1024  # bytes; a longer line is cut into pieces of this size
KEPT = 1024 * 1024  # characters kept per instance, the oldest lines go first
_OVERHEAD = 100  # characters that a line counts for beside its text


class Output:
    """The last lines of an instance, for any number of followers."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lines: deque[LogLine] = deque()
        self._size = 0
        self._gone = 0  # lines that no longer are kept
        self._finished = False
        self._changed = asyncio.Event()  # replaced at each change

    def append(self, line: LogLine) -> None:
        """Keep a line, and forget the oldest ones beyond the bound."""
        self._lines.append(line)
        self._size += len(line.text) + _OVERHEAD
        while self._size > self._kept and len(self._lines) > 1:
            self._size -= len(self._lines.popleft().text) + _OVERHEAD
            self._gone += 1
        self._wake()

    def finish(self) -> None:
        """Say that nothing more comes."""
        self._finished = True
        self._wake()

    async def follow(self) -> AsyncIterator[LogLine]:
        """Yield all kept lines, then each new one until the end.

        A follower that is too slow misses what was forgotten meanwhile.
        """
        position = 0
        while True:
            position = max(position, self._gone)
            if position < self._gone + len(self._lines):
                yield self._lines[position - self._gone]
                position += 1
            elif self._finished:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Lines(asyncio.Protocol):
    """Cuts what comes through a pipe into lines."""

    def __init__(
        self,
        stream: Literal["stdout", "stderr"],
        take: Callable[[LogLine], None],
        finish: Callable[[], None],
    ) -> None:
        self._stream, self._take, self._finish = stream, take, finish
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        while len(self._rest) > LINE_LIMIT:
            self._say(self._rest[:LINE_LIMIT])
            self._rest = self._rest[LINE_LIMIT:]

    def connection_lost(self, error: Exception | None) -> None:
        if self._rest:
            self._say(self._rest)
        self._finish()

    def _say(self, line: bytes) -> None:
        now = time.time()
        for start in range(0, max(len(line), 1), LINE_LIMIT):
            text = line[start : start + LINE_LIMIT].decode(errors="replace")
            self._take(LogLine(now, self._stream, text))
