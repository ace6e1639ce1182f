"""The worker's end of the link: hears the node, tells it what happened, outlives its restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING

import msgspec
import structlog

from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.router.dispatch import Dispatch
    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange
    from windlass.router.pool import Pool

log = structlog.get_logger(__name__)

RETRY_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds; the last one again and again
MAX_UNACKNOWLEDGED = 256  # reports; beyond it counters go on in memory until the node catches up


class NodeLink:
    """Sends and receives the link's messages; is the Voice of a Dispatch."""

    def __init__(self, path: str, worker: str) -> None:
        """Prepare a link over the Unix socket `path`."""
        self._path = path
        self._worker = worker
        self._writer: asyncio.StreamWriter | None = None
        self._starved: dict[Pool[Endpoint, Exchange], None] = {}
        self._reports: deque[link.Report] = deque()  # not acknowledged yet
        self._sequence = 0
        self._reported = monotonic_ns()  # end of the stretch that reports cover
        self.away_since: float | None = asyncio.get_running_loop().time()

    # What the node is told.

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Tell that requests wait, once per turn of the loop and revision."""
        if not self._starved:
            asyncio.get_running_loop().call_soon(self._tell_starved)
        self._starved[pool] = None

    def drained(self, instance: str) -> None:
        """Tell that a draining instance has nothing in flight."""
        self._send(link.InstanceDrained(instance))

    def rested(self, instance: str, number: int, *, at_rest: bool) -> None:
        """Tell whether an instance may be frozen."""
        self._send(link.InstanceRested(instance=instance, round=number, at_rest=at_rest))

    def woken(self, instance: str) -> None:
        """Tell that a frozen instance was thawed."""
        self._send(link.InstanceWoken(instance))

    def unreachable(self, instance: str, failures: int, reason: str) -> None:
        """Tell that no connection to an instance could be made."""
        self._send(link.InstanceUnreachable(instance, failures, reason))

    def report(self, dispatch: Dispatch, *, last: bool = False) -> None:
        """Report what happened since the last time, if anything did and the node listens."""
        if not last and (self._writer is None or len(self._reports) >= MAX_UNACKNOWLEDGED):
            return
        now = monotonic_ns()
        revisions, instances = dispatch.report(now)
        begin, self._reported = self._reported, now
        if not revisions and not instances:
            return
        self._sequence += 1
        report = link.Report(
            worker=self._worker,
            sequence=self._sequence,
            begin=begin,
            end=now,
            revisions=tuple(revisions),
            instances=tuple(instances),
        )
        self._reports.append(report)
        self._send(report)

    def _tell_starved(self) -> None:
        for pool in self._starved:
            if pool.queue:
                self._send(
                    link.Starved(
                        revision=pool.route.name,
                        queued=len(pool.queue),
                        in_flight=pool.counts.in_flight,
                    )
                )
        self._starved.clear()

    def _send(self, message: link.ToNode) -> None:
        # Nothing is lost when the node is away: it asks for states again when it is back, and
        # reports are kept.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(link.encode(message))

    # What the node says.

    async def run(self, dispatch: Dispatch, drain: Callable[[float], None]) -> None:
        """Keep the link for as long as the worker lives; `drain` is called with a grace."""
        failures = 0
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(RETRY_PAUSES[min(failures, len(RETRY_PAUSES) - 1)])
                failures += 1
                continue
            failures = 0
            try:
                self._greet(writer, dispatch)
                while True:
                    self._apply(await link.read_for_worker(reader), dispatch, drain)
            except (asyncio.IncompleteReadError, OSError):
                log.warning("link lost", path=self._path)
            except msgspec.DecodeError as error:
                log.error("link broken", path=self._path, error=str(error))
            finally:
                self._writer = None
                dispatch.lose_node(monotonic_ns())
                self.away_since = asyncio.get_running_loop().time()
                writer.close()  # what was said last still goes out
                with contextlib.suppress(OSError):  # the node was quicker
                    await writer.wait_closed()
            # A node that hangs up at once must not be called again at once, for ever.
            await asyncio.sleep(RETRY_PAUSES[0])

    def _greet(self, writer: asyncio.StreamWriter, dispatch: Dispatch) -> None:
        self._writer = writer
        self.away_since = None
        self._send(
            link.Hello(worker=self._worker, pid=os.getpid(), instances=dispatch.known_instances())
        )
        for report in self._reports:
            self._send(report)
        for pool in dispatch.pools.values():
            if pool.queue:
                self.starved(pool)
        log.info("link up", path=self._path)

    def _apply(
        self, message: link.ToWorker, dispatch: Dispatch, drain: Callable[[float], None]
    ) -> None:
        now = monotonic_ns()
        match message:
            case link.Routes():
                dispatch.apply_routes(message, now)
            case link.InstanceReady():
                dispatch.add_instance(message, now)
            case link.InstanceUnready():
                dispatch.withhold_instance(message)
            case link.InstanceRest():
                dispatch.rest_instance(message)
            case link.InstanceFrozen():
                dispatch.freeze_instance(message, now)
            case link.InstanceDraining():
                dispatch.drain_instance(message)
            case link.InstanceGone():
                dispatch.remove_instance(message, now)
            case link.StartFailed():
                dispatch.fail_start(message, now)
            case link.Acknowledge():
                while self._reports and self._reports[0].sequence <= message.sequence:
                    self._reports.popleft()
            case link.Drain():
                drain(message.grace)
