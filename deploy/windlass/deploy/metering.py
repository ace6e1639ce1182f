"""The metering pump: reports of workers into the meter, its batches into the ledger.

A worker is told that a report is safe only once its batch is in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from windlass.billing.ledger import LedgerUnavailable
from windlass.model.instance import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.billing.ledger import Ledger
    from windlass.billing.meter import Meter
    from windlass.billing.rows import Gap
    from windlass.billing.running import RunningUsage
    from windlass.model.instance import Instance
    from windlass.router import link

log = structlog.get_logger(__name__)

# Seconds from flush to flush. What a kill of node and routers loses is this, the routers' report
# interval, and what a flush takes: all in all under a second.
INTERVAL = 0.5
SOON = 0.05  # seconds after which what is urgent is flushed: many at once are one flush


class Metering:
    """Feeds one meter and its ledger."""

    def __init__(
        self,
        meter: Meter,
        ledger: Ledger,
        running: RunningUsage,
        acknowledge: Callable[[str, int], None],
    ) -> None:
        self.meter = meter
        self.running = running
        self._ledger = ledger
        self._acknowledge = acknowledge
        self._writing = asyncio.Lock()
        self._unwritten = False
        self._urgent = asyncio.Event()

    def changed(self, instance: Instance) -> None:
        """Take an instance's new state.

        One that has begun or serves is in the ledger soon: where the node is killed, what the
        instance does from then on can be billed only if its beginning is known.
        """
        self.meter.changed(instance)
        if instance.state in (State.STARTING, State.READY):
            self._urgent.set()

    def expect(self, worker: str) -> None:
        """Know a worker that is about to serve; see `Meter.expect`."""
        self.meter.expect(worker, time.monotonic_ns())
        self._urgent.set()

    def worker_gone(self, worker: str, *, lost: bool) -> Gap | None:
        """End what was in flight through a worker, now; see `Meter.worker_gone`."""
        gap = self.meter.worker_gone(worker, time.monotonic_ns(), lost=lost)
        if gap:
            self._urgent.set()
        return gap

    def count(self, report: link.Report) -> bool:
        """Count a report; return False if it has been counted before."""
        meter, worker = self.meter, report.worker
        if not meter.take_report(worker, report.sequence, report.end):
            return False
        for instance in report.instances:
            meter.count_instance(
                worker,
                instance.id,
                requests=instance.requests,
                invocation_milliseconds=instance.invocation_milliseconds,
                busy=instance.busy,
                busy_since=instance.busy_since,
                first_duration=instance.first_duration,
            )
        for revision in report.revisions:
            meter.count_revision(
                worker,
                revision.name,
                packed=revision.packed,
                cold_starts=len(revision.cold_starts),
            )
        return True

    async def run(self) -> None:
        """Flush every interval, and soon where it is urgent, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL  # however long a flush takes on a busy machine
            self._urgent.clear()
            await self.flush()
            await asyncio.sleep(SOON)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._urgent.wait()

    async def flush(self) -> None:
        """Write what was counted; what cannot be written now is written with the next flush."""
        async with self._writing:
            now = time.monotonic_ns()
            batch = self.meter.flush(now, time.time_ns() - now)
            self.running.add(batch)
            try:
                await asyncio.to_thread(self._ledger.append, batch)
            except LedgerUnavailable as error:
                if not self._unwritten:
                    log.error("ledger cannot be written, kept in memory", why=str(error))
                self._unwritten = True
                return
            if self._unwritten:
                log.info("ledger is written again")
            self._unwritten = False
            for worker, mark in batch.marks.items():
                if mark is not None:
                    self._acknowledge(worker, mark.sequence)
