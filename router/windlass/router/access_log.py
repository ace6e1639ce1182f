"""The access log: one line per request that reached a revision, written off the request's path.

Entries are kept as they are and made lines of by a thread, four times a second.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

MAX_ENTRIES = 100_000  # that wait to be written; what comes on top is dropped and counted


class Entry(NamedTuple):
    """One request that has ended."""

    ended: int  # moments are monotonic ns
    began: int
    queued: int  # ns it waited for its slot
    client: bytes
    method: bytes
    target: bytes
    host: bytes
    status: int
    revision: str
    instance: str
    own: bytes  # the fields that the router added, the first of which is X-Request-Id


class AccessLog:
    """Entries on their way to a stream."""

    def __init__(self, form: Literal["json", "common"], stream: TextIO) -> None:
        self._line: Callable[[Entry, float], str] = json_line if form == "json" else common_line
        self._stream = stream
        self._entries: list[Entry] = []
        self._dropped = 0
        self._writing: asyncio.Future[None] | None = None

    def add(self, entry: Entry) -> None:
        """Keep an entry until the next flush."""
        if len(self._entries) < MAX_ENTRIES:
            self._entries.append(entry)
        else:
            self._dropped += 1

    def flush(self) -> None:
        """Let a thread write what there is, unless it still writes what was there before."""
        if not self._entries or (self._writing is not None and not self._writing.done()):
            return
        if self._dropped:
            log.warning("access log does not keep up", dropped=self._dropped)
            self._dropped = 0
        entries, self._entries = self._entries, []
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, entries)

    async def close(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self.flush()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _write(self, entries: list[Entry]) -> None:
        offset = time.time() - time.monotonic()
        try:
            self._stream.write("".join(self._line(entry, offset) for entry in entries))
            self._stream.flush()
        except (OSError, ValueError) as error:  # a full disk, a closed pipe
            log.error("access log not written", entries=len(entries), error=str(error))


def json_line(entry: Entry, offset: float) -> str:
    """Return the entry as a line of JSON; `offset` makes its moments Unix seconds."""
    fields = {
        "time": _utc(entry.ended, offset).isoformat(timespec="milliseconds"),
        "client": entry.client.decode(),
        "method": entry.method.decode(),
        "host": entry.host.decode(),
        "path": entry.target.decode(),
        "status": entry.status,
        "duration_ms": round((entry.ended - entry.began) / 1e6, 3),
        "queue_ms": round(entry.queued / 1e6, 3),
        "revision": entry.revision,
        "instance": entry.instance,
        "request_id": _request_id(entry.own),
    }
    return json.dumps(fields, separators=(",", ":")) + "\n"


def common_line(entry: Entry, offset: float) -> str:
    """Return the entry in the Common Log Format; nobody counts the bytes, hence the dash."""
    moment = _utc(entry.ended, offset).strftime("%d/%b/%Y:%H:%M:%S %z")
    request = f"{entry.method.decode()} {entry.target.decode()}".replace("\\", r"\\")
    request = request.replace('"', r"\"")
    return f'{entry.client.decode()} - - [{moment}] "{request} HTTP" {entry.status} -\n'


def _utc(moment: int, offset: float) -> datetime:
    return datetime.fromtimestamp(moment / 1e9 + offset, UTC)


def _request_id(own: bytes) -> str:
    return own.partition(b"\r\n")[0].partition(b": ")[2].decode()
