"""The budgets of services: looks at what each has cost, says so, and caps those that ask for it.

What was spent is read from the ledger, so that a restart forgets nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from windlass.billing.bill import bill
from windlass.billing.budget import judge, period_of
from windlass.billing.kept_usage import KeptUsage
from windlass.billing.ledger import LedgerUnavailable
from windlass.deploy.bill_views import in_order
from windlass.store.platform import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windlass.autoscaler.loop import Autoscaler
    from windlass.billing.book import Book
    from windlass.billing.budget import Verdict
    from windlass.billing.ledger import Ledger
    from windlass.deploy.control import Control
    from windlass.model.service import Revision
    from windlass.store.platform import Store
    from windlass.telemetry.metrics import Counters

log = structlog.get_logger(__name__)

INTERVAL = 2.0  # seconds between looks: what a capped service may spend too much
SPENT = "BudgetSpent"


class Budgets:
    """How each service's budget stands. That of its latest ready revision holds for all of it."""

    def __init__(
        self,
        control: Control,
        ledger: Ledger,
        books: Mapping[str, Book],
        store: Store,
        counters: Counters,
    ) -> None:
        self._control = control
        self._usage = KeptUsage(ledger)
        self._books = books
        self._store = store
        self._counters = counters
        self._told: dict[str, int] = {}  # service -> begin of the period that was said to be spent
        self.verdicts: dict[str, Verdict] = {}

    def join(
        self, autoscaler: Autoscaler, publish: Callable[[], None], event: Callable[..., None]
    ) -> None:
        """Take those who act on a verdict; `publish` tells workers the routes."""
        self._autoscaler = autoscaler
        self._publish = publish
        self._event = event

    def refusal(self, service: str) -> str:
        """Return why a service may have no instance now; empty: it may."""
        verdict = self.verdicts.get(service)
        return verdict.sentence() if verdict is not None and verdict.is_capped else ""

    async def run(self) -> None:
        """Look every interval until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Judge every budget anew, and do what follows."""
        before = self._refusals()
        for name in list(self._control.services):
            if revision := self._newest(name):
                await self._look_at(name, revision)
        for name in self.verdicts.keys() - self._control.services.keys():
            self._forget(name)
        if self._refusals() != before:
            self._publish()

    def _refusals(self) -> dict[str, str]:
        return {name: self.refusal(name) for name in self.verdicts}

    def _newest(self, service: str) -> Revision | None:
        known = self._control.services.get(service)  # deleted while another was looked at
        return self._control.revisions.get(known.latest_ready) if known else None

    async def _look_at(self, name: str, revision: Revision) -> None:
        if revision.template.budget is None:
            if name in self.verdicts:
                self._forget(name)
                self._counters.drop_budget(name)
                self._act(name)
            return
        try:
            verdict = await asyncio.to_thread(self._judge, name, revision, time.time())
        except LedgerUnavailable as error:
            log.error("a budget cannot be judged, what held goes on", service=name, why=str(error))
            return
        if verdict is None or name not in self._control.services:  # deleted meanwhile
            return
        self.verdicts[name] = verdict
        self._counters.set_budget(name, verdict.budget.amount, verdict.spent)
        self._tell(name, verdict)
        self._act(name)

    def _forget(self, name: str) -> None:
        del self.verdicts[name]
        self._usage.forget(name)

    def _judge(self, name: str, revision: Revision, now: float) -> Verdict | None:
        template = revision.template
        books = in_order(self._books, throttled=template.limits.cpu_throttling)
        book = next((book for book in books if book.mode is template.mode), None)
        if book is None or template.budget is None:
            return None
        begin, _ = period_of(template.budget.period, now)
        spent = bill(self._usage.read(name, begin, now), book).total
        return judge(template.budget, spent, now, book.currency)

    def _tell(self, name: str, verdict: Verdict) -> None:
        """Say once in a period that the budget is spent, through restarts too."""
        if not verdict.is_spent or self._told.get(name) == verdict.begin:
            return
        self._told[name] = verdict.begin
        try:
            events = self._store.events(name)
        except StoreUnavailable:
            events = []
        if not any(event.kind == SPENT and event.time >= verdict.begin for event in events):
            self._event(SPENT, service=name, message=verdict.sentence(), level="warning")

    def _act(self, name: str) -> None:
        for revision in self._control.revisions_of(name):
            self._autoscaler.refuse_instances(revision.name, self.refusal(name))
