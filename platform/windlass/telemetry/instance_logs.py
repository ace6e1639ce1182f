"""What instances print, in bounded files: STATE/logs/SERVICE/INSTANCE.log.

A line is `NANOSECONDS STREAM TEXT`. When a file is full it becomes INSTANCE.log.old, in place of
the one before. Which instance is in which state is not known here.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

MAX_FILE = 2 * 1024**2  # bytes; an instance has at most two files
MAX_INSTANCES = 100  # whose files are kept, of each service
MAX_OPEN = 128  # files held open
MAX_BEHIND = 10_000  # lines that a slow follower may be behind
OUT_OF_ORDER = 0.1  # seconds by which lines of two instances may come in the wrong order

Stream = Literal["stdout", "stderr"]


class Printed(Protocol):
    """A line as runtimes have it."""

    @property
    def time(self) -> float: ...  # Unix seconds
    @property
    def stream(self) -> Stream: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One line that an instance printed, without its newline."""

    time: float  # Unix seconds
    instance: str
    stream: Stream
    text: str


class InstanceLogs:
    """The lines of all instances. Every method may raise OSError."""

    def __init__(self, folder: Path, max_file: int = MAX_FILE) -> None:
        """Keep files in the folder, which is made with the first line."""
        self._folder = folder
        self._max_file = max_file
        self._files: OrderedDict[tuple[str, str], BinaryIO] = OrderedDict()
        self._followers: dict[str, set[_Follower]] = {}
        self._kept_to: dict[tuple[str, str], int] = {}  # ns of the last line of an earlier run

    def append(self, service: str, instance: str, line: Printed) -> None:
        """Keep a line."""
        text = line.text.replace("\n", " ")
        stamp = round(line.time * 1_000_000_000)
        if stamp <= self._kept_to.get((service, instance), -1):
            return
        file = self._open(service, instance)
        file.write(f"{stamp} {line.stream} {text}\n".encode(errors="replace"))
        if file.tell() >= self._max_file:
            self.close(service, instance)
            path = self._path(service, instance)
            path.replace(path.with_suffix(".log.old"))
        for follower in self._followers.get(service, ()):
            follower.put(Line(line.time, instance, line.stream, text))

    def resume(self, service: str, instance: str) -> None:
        """Go on with an instance of an earlier run: lines that are kept already are not again."""
        newest = self._path(service, instance)
        for path in (newest, newest.with_suffix(".log.old")):
            if path.exists() and (lines := _last_lines(path, 1)):
                self._kept_to[service, instance] = int(lines[0].split(b" ", 1)[0])
                return

    def read(self, service: str, last: int, instance: str | None = None) -> list[Line]:
        """Return the last lines of a service, or of one of its instances, in the order of time."""
        if last <= 0 or not (folder := self._folder / service).is_dir():
            return []
        names = {path.name.split(".log")[0] for path in folder.glob("*.log*")}
        chosen = names if instance is None else names & {instance}
        lines = (line for name in sorted(chosen) for line in self._tail(service, name, last))
        return sorted(heapq.nlargest(last, lines, key=_by_time), key=_by_time)

    async def follow(
        self, service: str, last: int = 0, instance: str | None = None
    ) -> AsyncIterator[Line]:
        """Yield the last lines, and then each as it is printed, for ever.

        One who reads too slowly misses lines, and is told how many in a line of its own.
        """
        follower = _Follower()
        followers = self._followers.setdefault(service, set())
        followers.add(follower)
        try:
            for line in self.read(service, last, instance):
                yield line
            while True:
                line = await follower.get()
                if instance is None or line.instance == instance:
                    yield line
        finally:
            followers.discard(follower)

    def close(self, service: str, instance: str) -> None:
        """Close an instance's file: nothing more is expected of it. Another line opens it again."""
        self._kept_to.pop((service, instance), None)
        if file := self._files.pop((service, instance), None):
            file.close()

    def close_all(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()

    def remove(self, service: str) -> None:
        """Delete all that a service's instances printed."""
        folder = self._folder / service
        for name in [instance for known, instance in self._files if known == service]:
            self.close(service, name)
        if folder.is_dir():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def _open(self, service: str, instance: str) -> BinaryIO:
        key = (service, instance)
        file = self._files.get(key)
        if file is None:
            path = self._path(service, instance)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                self._make_room(path.parent)
            if len(self._files) >= MAX_OPEN:
                self._files.popitem(last=False)[1].close()
            # Unbuffered: what a full disk did not take must not fail again when it is closed.
            file = self._files[key] = path.open("ab", buffering=0)
        self._files.move_to_end(key)
        return file

    def _make_room(self, folder: Path) -> None:
        """Delete the files that were written longest ago, so that one more instance fits."""
        paths = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        for path in paths[: max(0, len(paths) - MAX_INSTANCES + 1)]:
            self.close(folder.name, path.stem)
            path.unlink()
            path.with_suffix(".log.old").unlink(missing_ok=True)

    def _tail(self, service: str, instance: str, last: int) -> list[Line]:
        path = self._path(service, instance)
        found: list[Line] = []
        for part in (path, path.with_suffix(".log.old")):
            if len(found) < last and part.exists():
                found[:0] = _parsed(_last_lines(part, last - len(found)), instance)
        return found

    def _path(self, service: str, instance: str) -> Path:
        return self._folder / service / f"{instance}.log"


class _Follower:
    """The lines that one reader has not taken yet, in the order of time."""

    def __init__(self) -> None:
        self._lines: list[tuple[float, int, float, Line]] = []  # heap: time, number, arrival, line
        self._number = 0
        self._more = asyncio.Event()
        self._missed = 0

    def put(self, line: Line) -> None:
        if len(self._lines) >= MAX_BEHIND:
            self._missed += 1
            heapq.heappop(self._lines)
        self._number += 1
        heapq.heappush(self._lines, (line.time, self._number, time.monotonic(), line))
        self._more.set()

    async def get(self) -> Line:
        """Return the earliest line, once those that instances printed before it are here too."""
        while True:
            while not self._lines:
                self._more.clear()
                await self._more.wait()
            moment, _, arrival, line = self._lines[0]
            if (early := arrival + OUT_OF_ORDER - time.monotonic()) <= 0:
                break
            await asyncio.sleep(early)
        if self._missed:
            missed, self._missed = self._missed, 0
            return Line(moment, "", "stderr", f"({missed} lines were missed here)")
        heapq.heappop(self._lines)
        return line


def _last_lines(path: Path, last: int) -> list[bytes]:
    """Return a file's last lines without reading much more than them."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        block = 256 * last
        while True:
            file.seek(max(0, size - block))
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is nothing
            if len(lines) > last or block >= size:
                return lines[-last:]
            block *= 4


def _parsed(lines: Iterable[bytes], instance: str) -> Iterator[Line]:
    for line in lines:
        stamp, stream, text = line.decode(errors="replace").split(" ", 2)
        yield Line(int(stamp) / 1_000_000_000, instance, cast("Stream", stream), text)


def _by_time(line: Line) -> float:
    return line.time
