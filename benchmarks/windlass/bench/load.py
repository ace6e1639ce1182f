"""The load generator: sends requests on a schedule or from a number of clients, and measures.

On a schedule no request waits for another's answer, and its latency counts from the moment it was
to be sent: a server that stalls shows as slow for all that should have been sent meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.bench import schedule
from windlass.bench.pacing import open_alarm
from windlass.bench.requests import Requests, resolve
from windlass.bench.tally import SECOND, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from windlass.bench.requests import Address
    from windlass.bench.tally import LoadResult, Snapshot

_PROGRESS_INTERVAL = 0.5  # seconds
_PAUSE_AFTER_ERROR = 0.1  # seconds, of a client of a closed loop


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent where; seconds throughout. With `clients`, the loop is closed: no `rate`."""

    host: str
    port: int
    host_header: str
    tls: bool = False
    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    rate: float = 100.0
    clients: int | None = None
    moments: tuple[float, ...] = ()  # when each request is to be sent, instead of rate and ramp
    duration: float = 30.0
    ramp: float = 0.0
    timeout: float = 30.0
    max_connections: int = 2000
    keep_spans: bool = False  # note when each request was sent and answered


async def run(load: Load, progress: Callable[[Snapshot], None] | None = None) -> LoadResult:
    """Put the load on its endpoint and return when every request has ended.

    Raises:
        ValueError: a number of the load makes no sense.
        OSError: there is no such host.
    """
    schedule.check(load.rate, load.duration, load.ramp)
    if load.clients is not None and load.clients < 1:
        raise ValueError(f"clients must be at least 1, not {load.clients}")
    tls_name = load.host_header.rpartition(":")[0] or load.host_header if load.tls else None
    generator = _Generator(load, await resolve(load.host, load.port, tls_name))
    reporter = asyncio.create_task(generator.report(progress)) if progress else None
    try:
        result = await generator.run()
    finally:
        if reporter:
            reporter.cancel()
        generator.close()
    if progress:
        progress(generator.snapshot())
    return result


def request_bytes(load: Load) -> bytes:
    """Return the request as it is sent, again and again."""
    lines = [f"{load.method} {load.path} HTTP/1.1", f"Host: {load.host_header}"]
    lines += [f"{name}: {value}" for name, value in load.headers]
    if load.body:
        lines.append(f"Content-Length: {len(load.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + load.body


class _Generator:
    """One load under way."""

    def __init__(self, load: Load, address: Address) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._alarm = open_alarm(self._loop, self._send_due)
        self._begin = time.monotonic_ns()
        self._tally = Tally(self._begin, keep_spans=load.keep_spans)
        self._requests = Requests(
            address,
            request_bytes(load),
            timeout=load.timeout,
            max_connections=load.max_connections,
            tally=self._tally,
            on_end=self._ended,
        )
        self._moments: Iterator[float] = iter(())
        self._next = self._begin
        self._sending = True
        self._done = asyncio.Event()

    async def run(self) -> LoadResult:
        """Send everything, wait until the last has ended."""
        load = self._load
        if load.clients is None:
            given = iter(load.moments)
            arrivals = schedule.arrivals(load.rate, load.duration, load.ramp)
            self._moments = given if load.moments else arrivals
            self._next = self._begin + round(next(self._moments) * SECOND)
            self._send_due()
        else:
            for start in schedule.client_starts(load.clients, load.ramp):
                self._loop.call_later(start, self._client_turn)
            self._loop.call_later(load.duration, self._end_sending)
        await self._done.wait()
        return self._tally.finish(time.monotonic_ns())

    async def report(self, progress: Callable[[Snapshot], None]) -> None:
        """Say twice a second how it goes."""
        while True:
            await asyncio.sleep(_PROGRESS_INTERVAL)
            progress(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Return how it goes, since the snapshot before."""
        return self._tally.snapshot(time.monotonic_ns())

    def close(self) -> None:
        """Leave no connection, timer or task behind."""
        self._sending = False
        self._alarm.close()
        self._requests.close()

    def _send_due(self) -> None:
        while self._next <= time.monotonic_ns():
            self._requests.begin(self._next)
            moment = next(self._moments, None)
            if moment is None:
                self._end_sending()
                return
            self._next = self._begin + round(moment * SECOND)
        self._alarm.set(self._next)

    def _client_turn(self) -> None:
        if self._sending:
            self._requests.begin(time.monotonic_ns())

    def _ended(self, failed: bool) -> None:
        if not self._sending:
            if not self._tally.in_flight:
                self._done.set()
        elif self._load.clients is not None:
            if failed:
                self._loop.call_later(_PAUSE_AFTER_ERROR, self._client_turn)
            else:
                self._client_turn()

    def _end_sending(self) -> None:
        self._sending = False
        if not self._tally.in_flight:
            self._done.set()
