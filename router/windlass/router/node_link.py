"""The worker's end of the link: hears the node, tells it what happened, outlives its restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from windlass.router import link

if TYPE_CHECKING:
    from windlass.router.dispatch import Dispatch
    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange
    from windlass.router.pool import Pool

log = structlog.get_logger(__name__)

RETRY_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds; the last one again and again
MAX_UNACKNOWLEDGED = 256  # reports; beyond it counters go on in memory until the node catches up


class Drain(Protocol):
    """Ends the worker within `grace` seconds, see link.Drain."""

    def __call__(self, grace: float, *, patient: bool) -> None: ...


class NodeLink:
    """Sends and receives the link's messages; is the Voice of a Dispatch."""

    def __init__(self, path: str, worker: str) -> None:
        """Prepare a link over the Unix socket `path`."""
        self._path = path
        self._worker = worker
        self._writer: asyncio.StreamWriter | None = None
        self._starved: dict[Pool[Endpoint, Exchange], None] = {}
        self._returned: dict[Pool[Endpoint, Exchange], None] = {}
        self._reports: deque[link.Report] = deque()  # not acknowledged yet
        self._sequence = 0
        self._reported = monotonic_ns()  # end of the stretch that reports cover
        self.listeners: tuple[socket.socket, ...] = ()  # handed over to each new node
        self.knows_routes = asyncio.Event()
        self.away_since: float | None = asyncio.get_running_loop().time()

    # What the node is told.

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Tell that requests wait, once per turn of the loop and revision."""
        if not self._starved:
            asyncio.get_running_loop().call_soon(self._tell_starved)
        self._starved[pool] = None

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Tell that slots were given up, once per turn of the loop and revision."""
        if not self._returned:
            asyncio.get_running_loop().call_soon(self._tell_returned)
        self._returned[pool] = None

    def aside(self, instance: str, *, aside: bool) -> None:
        """Tell whether an instance gets requests from here."""
        self._send(link.InstanceAside(instance, aside))

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
        """Report what happened since the last time, or that nothing did, if the node listens."""
        if not last and (self._writer is None or len(self._reports) >= MAX_UNACKNOWLEDGED):
            return
        now = monotonic_ns()
        revisions, instances = dispatch.report(now)
        begin, self._reported = self._reported, now
        if not revisions and not instances:
            self._send(link.Quiet(now))
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
                        granted=pool.granted,
                    )
                )
        self._starved.clear()

    def _tell_returned(self) -> None:
        for pool in self._returned:
            if pool.returned:
                self._give_back(pool)
        self._returned.clear()

    def _give_back(self, pool: Pool[Endpoint, Exchange], *, answer: bool = False) -> None:
        slots = tuple((instance.id, count) for instance, count in pool.returned.items())
        pool.returned.clear()
        self._send(
            link.Returned(
                revision=pool.route.name,
                slots=slots,
                queued=len(pool.queue),
                in_flight=pool.counts.in_flight,
                granted=pool.granted,
                answer=answer,
            )
        )

    def _recall(self, message: link.Recall, dispatch: Dispatch) -> None:
        pool = dispatch.pools.get(message.revision)
        if pool is not None:
            pool.recall(message.slots, message.ahead)
            self._give_back(pool, answer=True)

    def _send(self, message: link.ToNode) -> None:
        # Nothing is lost when the node is away: it asks for states again when it is back, and
        # reports are kept.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(link.encode(message))

    # What the node says.

    async def run(self, dispatch: Dispatch, drain: Drain) -> None:
        """Keep the link for as long as the worker lives."""
        failures = 0
        while True:
            try:
                reader, writer = await self._connect(dispatch)
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
                dispatch.keep_leases()
                self.away_since = asyncio.get_running_loop().time()
                writer.close()  # what was said last still goes out
                with contextlib.suppress(OSError):  # the node was quicker
                    await writer.wait_closed()
            # A node that hangs up at once must not be called again at once, for ever.
            await asyncio.sleep(RETRY_PAUSES[0])

    async def _connect(
        self, dispatch: Dispatch
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Say hello over a new link; the listening sockets go along."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(self._path)
            dispatch.keep_leases()  # what the hello says is all that is leased now
            hello = link.encode(
                link.Hello(
                    worker=self._worker,
                    pid=os.getpid(),
                    slots=dispatch.leases(),
                    aside=dispatch.set_aside(),
                    draining=dispatch.draining,
                )
            )
            descriptors = [number for each in self.listeners if (number := each.fileno()) >= 0]
            sent = socket.send_fds(connection, [hello], descriptors) if descriptors else 0
            reader, writer = await asyncio.open_unix_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        writer.write(hello[sent:])
        return reader, writer

    def _greet(self, writer: asyncio.StreamWriter, dispatch: Dispatch) -> None:
        self._writer = writer
        self.away_since = None
        for report in self._reports:
            self._send(report)
        for pool in dispatch.pools.values():
            if pool.queue:
                self.starved(pool)
        log.info("link up", path=self._path)

    def _apply(self, message: link.ToWorker, dispatch: Dispatch, drain: Drain) -> None:
        now = monotonic_ns()
        match message:
            case link.Routes():
                dispatch.apply_routes(message, now)
                self.knows_routes.set()
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
            case link.Grant():
                dispatch.lease(message, now)
            case link.Recall():
                self._recall(message, dispatch)
            case link.Refuse():
                dispatch.refuse(message, now)
            case link.StartFailed():
                dispatch.fail_start(message, now)
            case link.Acknowledge():
                while self._reports and self._reports[0].sequence <= message.sequence:
                    self._reports.popleft()
            case link.Drain():
                drain(message.grace, patient=message.patient)
