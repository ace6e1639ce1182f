"""The running platform, as the admin API asks for it (deploy.api.platform.Platform)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from windlass.billing.bill import Bill, bill
from windlass.billing.book import Book, Nothing, find
from windlass.billing.ledger import LedgerUnavailable
from windlass.billing.running import billed
from windlass.billing.slices import Kind
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.api.schema import (
    DecisionView,
    EventView,
    LogLineView,
    ReloadView,
    StandbyView,
    StatusView,
)
from windlass.deploy.bill_views import bill_view, book_view, budget_view, in_order, shares_view
from windlass.deploy.cost_views import cost_views
from windlass.deploy.live_views import lately, overview_view, rates_of, timeline_view
from windlass.deploy.views import instance_view, service_view, url
from windlass.deploy.workers import WorkerFailed
from windlass.telemetry.metrics import ServiceCounts
from windlass.telemetry.structured import understood

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from windlass.autoscaler.loop import Autoscaler
    from windlass.billing.ledger import Ledger
    from windlass.billing.usage import Usage
    from windlass.deploy.api.platform import Comparisons
    from windlass.deploy.api.schema import (
        BillTerms,
        BillView,
        BookView,
        CostView,
        InstanceView,
        OverviewView,
        Progress,
        ServiceView,
        SharesView,
        TimelineView,
    )
    from windlass.deploy.budgets import Budgets
    from windlass.deploy.control import Control
    from windlass.deploy.manifest import ServiceSpec
    from windlass.deploy.metering import Metering
    from windlass.deploy.options import Options
    from windlass.deploy.switchboard import Switchboard
    from windlass.deploy.workers import Workers
    from windlass.model.instance import State
    from windlass.model.service import Service, Target, Template
    from windlass.store.platform import Store
    from windlass.telemetry.instance_logs import InstanceLogs, Line
    from windlass.telemetry.metrics import Counters


@dataclass(frozen=True, kw_only=True)
class RunningPlatform:
    """Answers from what the parts hold; changes go through Control."""

    options: Options
    runtime: str
    control: Control
    switchboard: Switchboard
    autoscaler: Autoscaler
    workers: Workers
    store: Store
    ledger: Ledger
    metering: Metering
    counters: Counters
    logs_kept: InstanceLogs
    books_known: Mapping[str, Book]
    comparisons: Comparisons
    budgets: Budgets
    started: float = field(default_factory=time.time)

    def deploy(
        self,
        name: str,
        template: Template,
        *,
        labels: Mapping[str, str],
        traffic: bool,
        health_check: bool,
    ) -> AsyncIterator[Progress]:
        """Make a revision of a service."""
        return self.control.deploy(
            name, template, labels=labels, traffic=traffic, health_check=health_check
        )

    def apply(self, spec: ServiceSpec) -> AsyncIterator[Progress]:
        """Make the service what a manifest says."""
        return self.control.apply(spec)

    async def set_traffic(self, name: str, traffic: Sequence[Target]) -> ServiceView:
        """Send the service's requests elsewhere."""
        return await self.control.set_traffic(name, traffic)

    async def delete(self, name: str) -> None:
        """Drain, stop and forget a service; its bill stays."""
        await self.control.delete(name)

    async def services(self) -> list[ServiceView]:
        """Return all services by name."""
        return [self.view(service) for _, service in sorted(self.control.services.items())]

    async def describe(self, name: str) -> ServiceView:
        """Return one service."""
        return self.view(self.control.named(name))

    def view(self, service: Service) -> ServiceView:
        """Return a service as it is shown."""
        return service_view(
            service,
            self.control.revisions_of(service.name),
            self.switchboard.instances.values(),
            self.options.domain,
            self.options.http,
        )

    async def instances(self, name: str) -> list[InstanceView]:
        """Return a service's instances, those that ended lately first."""
        self.control.named(name)
        board = self.switchboard
        living = [i for i in board.instances.values() if i.service == name]
        return [
            instance_view(
                i,
                board.in_flight.get(i.id, 0),
                board.requests[i.id],
                frozen=i.id in board.frozen,
            )
            for i in (*board.ended.of(name), *living)
        ]

    async def standbys(self, name: str) -> list[StandbyView]:
        """Return what was made ahead for a service's next instances."""
        self.control.named(name)
        return [
            StandbyView(id=each.name, service=name, revision=revision.name, made=each.made)
            for revision in self.control.revisions_of(name)
            for each in self.autoscaler.standing_by(revision.name)
        ]

    async def events(self, name: str) -> list[EventView]:
        """Return what happened to a service, oldest first."""
        self.control.named(name)
        return [
            EventView(
                time=event.time,
                level="warning" if event.level == "warning" else "info",
                kind=event.kind,
                service=event.service,
                revision=event.revision,
                instance=event.instance,
                message=event.message,
            )
            for event in self.store.events(name)
        ]

    async def explain(self, name: str) -> list[DecisionView]:
        """Return the autoscaler's latest decisions for a service, oldest first."""
        self.control.named(name)
        offset = time.time() - time.monotonic()
        views = [
            DecisionView(
                time=made.time + offset,
                revision=revision.name,
                desired=made.desired,
                reason=made.reason,
                ready=made.observation.ready,
                starting=made.observation.starting,
                in_flight=made.observation.in_flight,
                queued=made.observation.queued,
                stable_average=made.observation.stable,
                panic_average=made.observation.panic,
                panicking=made.kind == "panic",
            )
            for revision in self.control.revisions_of(name)
            for made in self.autoscaler.explain(revision.name)
        ]
        return sorted(views, key=lambda view: view.time)

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[LogLineView]:
        """Yield a service's last lines; with `follow`, then those to come."""
        self.control.named(name)
        if not follow:
            for line in await asyncio.to_thread(self.logs_kept.read, name, tail):
                yield _line_view(line)
            return
        async for line in self.logs_kept.follow(name, tail):
            yield _line_view(line)

    async def overview(self) -> list[OverviewView]:
        """Return how every service does now, by name."""
        counted = self.counters.by_service()
        states: dict[str, Counter[State]] = defaultdict(Counter)
        for instance in self.switchboard.instances.values():
            states[instance.service][instance.state] += 1
        return [
            overview_view(
                service,
                self.control.revisions.get(service.latest_ready),
                url(name, self.options.domain, self.options.http),
                states[name],
                counted.get(name, ServiceCounts()),
            )
            for name, service in sorted(self.control.services.items())
        ]

    async def timeline(self, name: str, since: float) -> list[TimelineView]:
        """Return what a service's instances did since a moment, oldest first."""
        self.control.named(name)
        board, now = self.switchboard, time.monotonic_ns()
        living = [i for i in board.instances.values() if i.service == name]
        rates = {r.name: rates_of(r, self.books_known) for r in self.control.revisions_of(name)}
        views = (
            timeline_view(
                i,
                *board.recent.stretches(i.id, now),
                rates.get(i.revision, {}),
                board.frozen.stretches(i.id, now),
                now,
            )
            for i in (*board.ended.of(name), *living)
        )
        return [view for each in views if (view := lately(each, since)).slices]

    async def costs(self, since: float) -> list[CostView]:
        """Return what every service cost since a moment, beside the other mode."""
        with _ledger_errors():
            usage = await asyncio.to_thread(self._usage, None, since)
        always = {name for name in self.control.services if not self._throttled(name)}
        return await asyncio.to_thread(cost_views, usage, self.books_known, always)

    async def bill(
        self,
        service: str | None,
        book: str | None,
        since: float | None,
        until: float | None = None,
        terms: BillTerms | None = None,
    ) -> BillView:
        """Return the bill of one service or of all, with one book or with each."""
        throttled = service is None or self._throttled(service)
        all_books = in_order(self.books_known, throttled=throttled)
        books = all_books if book is None else [await self.book(book)]
        usage = await self._metered(service, since, until)
        found = await asyncio.to_thread(bill_view, usage, books, service or "", terms)
        verdicts = sorted(self.budgets.verdicts.items())
        budgets = (budget_view(name, v) for name, v in verdicts if service in (None, name))
        return msgspec.structs.replace(found, budgets=tuple(budgets))

    async def shares(
        self,
        service: str | None,
        book: str,
        since: float | None,
        step: int | None,
        terms: BillTerms,
    ) -> SharesView:
        """Return the same bill taken apart."""
        chosen = await self.book(book)
        whole = await self._metered(service, since)

        def read() -> SharesView:
            ends = whole.since, whole.until
            parts = [whole] if step is None else self.ledger.parts(*ends, step, service)
            return shares_view(parts, whole, chosen, terms)

        with _ledger_errors():
            return await asyncio.to_thread(read)

    def _throttled(self, service: str) -> bool:
        """Return whether a service's instances have no CPU between requests."""
        known = self.control.services.get(service)
        revision = self.control.revisions.get(known.latest_ready) if known else None
        return revision is None or revision.template.limits.cpu_throttling

    async def _metered(
        self, service: str | None, since: float | None, until: float | None = None
    ) -> Usage:
        await self.metering.flush()  # up to now, not up to the last second
        with _ledger_errors():
            usage = await asyncio.to_thread(self._usage, service, since, until)
        if service and not usage.instances and service not in self.control.services:
            detail = f"no service {service!r} was ever metered"
            raise Refused(problem(404, "no-such-service", detail))
        return usage

    async def books(self) -> list[BookView]:
        """Return the price books."""
        return [book_view(book) for book in in_order(self.books_known)]

    async def book(self, name: str) -> Book:
        """Return a price book by its name or an alias."""
        chosen = find(self.books_known, name)
        if chosen is None:
            known = ", ".join(one.name for one in in_order(self.books_known))
            detail = f"there is no price book {name!r}; there are: {known}"
            raise Refused(problem(404, "no-such-book", detail))
        return chosen

    def _usage(self, service: str | None, since: float | None, until: float | None = None) -> Usage:
        end = time.time() if until is None else until
        begin = self.ledger.begins(service) if since is None else since
        return self.ledger.usage(end if begin is None else begin, end, service)

    async def reload(self) -> ReloadView:
        """Replace the router workers one by one."""
        try:
            names = await self.workers.reload()
        except (WorkerFailed, OSError) as error:
            detail = f"{error}; it has said why in the platform's log. The old one serves on."
            raise Refused(problem(503, "worker-failed", detail)) from error
        self.switchboard.events.tell("Reloaded", message=f"{', '.join(names)} serve now")
        return ReloadView(workers=tuple(names))

    async def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        await self._price()
        return self.counters.text()

    async def _price(self) -> None:
        """Bring what services use and cost up to date."""
        usages = self.metering.running.take_changed()
        for usage in usages.values():
            for used in usage.instances:
                lengths = {str(kind): getattr(used.amounts, kind) for kind in Kind}
                self.counters.set_usage(used.service, used.revision, billed(used), lengths)
        # A price that only the time has is no service's own.
        books = [
            book
            for book in self.books_known.values()
            if book.currency == "USD" and not isinstance(book.billing, Nothing)
        ]

        def write() -> list[tuple[str, Bill]]:
            return [(name, bill(used, book)) for name, used in usages.items() for book in books]

        for name, priced in await asyncio.to_thread(write):
            if name in self.control.services:  # not deleted meanwhile
                self.counters.set_cost(name, priced.book, priced.total)

    async def status(self) -> StatusView:
        """Return how the platform itself runs."""
        options = self.options
        return StatusView(
            version=version("windlass"),
            runtime=self.runtime,
            http=str(options.http),
            domains=tuple(dict.fromkeys((options.domain, "localhost"))),
            workers=options.workers,
            started=self.started,
            state=str(options.state),
            pid=os.getpid(),
        )


@contextlib.contextmanager
def _ledger_errors() -> Iterator[None]:
    try:
        yield
    except LedgerUnavailable as error:
        raise Refused(problem(503, "ledger-unavailable", str(error))) from error


def _line_view(line: Line) -> LogLineView:
    said = understood(line.text)
    return LogLineView(
        time=line.time,
        revision=line.instance.rpartition("-")[0],
        instance=line.instance,
        stream=line.stream,
        text=line.text,
        severity=said.severity,
        message=said.message,
        trace=said.trace,
    )
