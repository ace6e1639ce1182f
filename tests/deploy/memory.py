"""A platform in memory: what tests put in front of the admin API and the dashboard."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from windlass.bench.show import title
from windlass.billing.book import find, load_books
from windlass.billing.rows import Amounts
from windlass.billing.usage import InstanceUsage, Usage
from windlass.deploy import rollout
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.api.schema import (
    BillLineView,
    BillTerms,
    BillView,
    BookBillView,
    BookView,
    CostView,
    DecisionView,
    Done,
    EventView,
    InstanceView,
    LogLineView,
    Notice,
    OverviewView,
    ReloadView,
    RevisionView,
    ServiceView,
    SharesView,
    SliceView,
    StandbyView,
    StatusView,
    Step,
    TimelineView,
    TrafficView,
    UsageView,
)
from windlass.deploy.bill_views import shares_view
from windlass.deploy.comparison.views import ModeView, RunView
from windlass.model.instance import State
from windlass.model.service import MIB, Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from windlass.billing.book import Book
    from windlass.deploy.api.schema import Progress
    from windlass.deploy.comparison.settings import Asked
    from windlass.deploy.manifest import ServiceSpec
    from windlass.model.service import Revision, Service, Target, Template


def _used(instance: str, busy: int, requests: int) -> InstanceUsage:
    return InstanceUsage(
        service="hello",
        revision="hello-00001",
        instance=f"hello-00001-{instance}",
        month="1970-01",
        mode=Mode.CLOUDRUN,
        milli_cpu=1000,
        memory=512 * MIB,
        labels=(("team", "blue"),) if instance == "a" else (),
        amounts=Amounts(
            busy=busy, idle=10**9, requests=requests, invocation_milliseconds=60 * requests
        ),
    )


BOOKS = load_books()
MINUTES = [  # what the ledger says of two instances
    Usage(since=0, until=60, instances=(_used("a", 2 * 10**9, 100),)),
    Usage(since=60, until=120, instances=(_used("b", 6 * 10**9, 300),)),
]


class MemoryComparisons:
    """Takes every run for begun; tests say how it stands."""

    def __init__(self) -> None:
        self.known: list[RunView] = []
        self.asked: list[Asked] = []
        self.reports: dict[str, Path] = {}

    async def start(self, asked: Asked) -> RunView:
        if self.known and self.known[0].state == "running":
            raise Refused(problem(409, "comparison-runs", "A comparison runs already."))
        self.asked.append(asked)
        run = RunView(
            id=f"17000-{len(self.asked)}",
            title=title(asked.settings),
            settings=asked.settings,
            begun=1_700_000_000.0,
            modes={Mode.CLOUDRUN: ModeView(), Mode.LAMBDA: ModeView()},
        )
        self.known.insert(0, run)
        return run

    async def cancel(self) -> None:
        if self.known and self.known[0].state == "running":
            self.known[0].state = "cancelled"

    def report(self, run: str) -> Path | None:
        return self.reports.get(run)


class MemoryPlatform:
    """Deploys at once; the image `missing` is not to be had, `crashing` does not come up."""

    def __init__(self) -> None:
        self.known: dict[str, Service] = {}
        self.revisions: dict[str, Revision] = {}
        self.billed: list[tuple[str | None, str | None, float | None]] = []
        self.more_lines: asyncio.Queue[LogLineView] = asyncio.Queue()
        self.hold = asyncio.Event()  # an image `slow` waits for it
        self.cancelled = 0
        self.broken = False
        self.comparisons = MemoryComparisons()

    async def deploy(
        self,
        name: str,
        template: Template,
        *,
        labels: Mapping[str, str],
        traffic: bool,
        health_check: bool,
    ) -> AsyncIterator[Progress]:
        known = self.known.get(name)
        try:
            targets = None if traffic else rollout.pinned(known, name)
        except rollout.NothingToKeep as error:
            raise Refused(problem(422, "no-traffic", str(error))) from error
        revision = rollout.next_revision(known, name, template, 1.0)
        async for event in self._check(template, health_check):
            yield event
        self.revisions[revision.name] = revision
        self.known[name] = rollout.succeeded(known, revision, tuple(labels.items()), targets)
        yield Done(self._view(name))

    async def apply(self, spec: ServiceSpec) -> AsyncIterator[Progress]:
        for warning in spec.warnings:
            yield Notice(warning)
        known = self.known.get(spec.name)
        revision = rollout.next_revision(known, spec.name, spec.template, 1.0)
        async for event in self._check(spec.template, spec.health_check):
            yield event
        self.revisions[revision.name] = revision
        self.known[spec.name] = rollout.succeeded(known, revision, spec.labels, spec.traffic)
        yield Done(self._view(spec.name))

    async def _check(self, template: Template, health_check: bool) -> AsyncIterator[Progress]:
        image = template.container.image
        if image == "missing":
            raise Refused(problem(422, "image-missing", "There is no image 'missing'."))
        if image == "broken":
            raise RuntimeError("a fault of ours")
        if not health_check:
            return
        yield Step(f"Starting an instance of {image or template.container.exec[0]}")
        if image == "slow":
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if image == "crashing":
            found = problem(422, "start-failed", "It exited with 3.")
            raise Refused(msgspec.structs.replace(found, log_lines=("starting", "cannot go on")))

    async def set_traffic(self, name: str, traffic: Sequence[Target]) -> ServiceView:
        service = self._service(name)
        wrong = rollout.unknown_revisions(traffic, self.revisions, "traffic")
        if wrong:
            raise Refused(problem(422, "invalid", "The traffic is wrong.", wrong))
        self.known[name] = msgspec.structs.replace(service, traffic=tuple(traffic))
        return self._view(name)

    async def delete(self, name: str) -> None:
        self._service(name)
        del self.known[name]

    async def services(self) -> list[ServiceView]:
        return [self._view(name) for name in sorted(self.known)]

    async def describe(self, name: str) -> ServiceView:
        return self._view(name)

    async def instances(self, name: str) -> list[InstanceView]:
        revision = self._service(name).latest_ready
        return [
            InstanceView(
                id=f"{revision}-abcde",
                service=name,
                revision=revision,
                state=State.READY,
                address="127.0.0.1:4000",
                in_flight=3,
                requests=17,
                started=10.0,
                ready=10.5,
                reason="1 request waits",
            )
        ]

    async def standbys(self, name: str) -> list[StandbyView]:
        revision = self._service(name).latest_ready
        return [StandbyView(id="wl-1-7", service=name, revision=revision, made=20.0)]

    async def events(self, name: str) -> list[EventView]:
        self._service(name)
        return [EventView(time=1.0, kind="Deployed", service=name, message="hello-00001 serves")]

    async def explain(self, name: str) -> list[DecisionView]:
        revision = self._service(name).latest_ready
        return [DecisionView(time=1.0, revision=revision, desired=2, reason="90 requests wait")]

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[LogLineView]:
        revision = self._service(name).latest_ready
        for number in range(5)[-tail:] if tail else ():
            yield LogLineView(
                time=float(number),
                revision=revision,
                instance=f"{revision}-abcde",
                stream="stdout",
                text=f"line {number}",
            )
        while follow:
            yield await self.more_lines.get()

    async def overview(self) -> list[OverviewView]:
        return [
            OverviewView(
                name=name,
                url=f"http://{name}.localhost:8080",
                ready=True,
                mode=Mode.CLOUDRUN,
                instances={State.READY: 1},
                in_flight=3,
                requests=17,
                latency=((0.25, 17),),
            )
            for name in sorted(self.known)
        ]

    async def timeline(self, name: str, since: float) -> list[TimelineView]:
        revision = self._service(name).latest_ready
        slices = (
            SliceView(kind="startup", begin=10.0, end=10.5, rate="active"),
            SliceView(kind="idle", begin=10.5, end=11.0, rate="free"),
            SliceView(kind="busy", begin=11.0, end=20.0, rate="active"),
        )
        return [TimelineView(instance=f"{revision}-abcde", revision=revision, slices=slices)]

    async def costs(self, since: float) -> list[CostView]:
        return [
            CostView(
                service=name,
                requests=1000,
                book="Cloud Run",
                total=Decimal("0.0006"),
                per_million_requests=Decimal("0.6"),
                other_book="Lambda",
                other_total=Decimal("0.006"),
                other_per_million_requests=Decimal(6),
            )
            for name in sorted(self.known)
        ]

    async def bill(
        self,
        service: str | None,
        book: str | None,
        since: float | None,
        until: float | None = None,
        terms: BillTerms | None = None,
    ) -> BillView:
        self.billed.append((service, book, since))
        names = [book] if book else ["cloudrun", "lambda-x86"]
        return BillView(
            service=service or "",
            since=since or 0.0,
            until=until or 100.0,
            usage=UsageView(requests=1000, instance_seconds=Decimal("12.5"), peak_instances=2),
            books=tuple(_book_bill(name) for name in names),
        )

    async def shares(
        self,
        service: str | None,
        book: str,
        since: float | None,
        step: int | None,
        terms: BillTerms,
    ) -> SharesView:
        self.billed.append((service, book, since))
        both = tuple(used for minute in MINUTES for used in minute.instances)
        whole = Usage(since=0, until=120, instances=both)
        parts = [whole] if step is None else MINUTES
        return shares_view(parts, whole, await self.book(book), terms)

    async def book(self, name: str) -> Book:
        if found := find(BOOKS, name):
            return found
        raise Refused(problem(404, "no-such-book", f"there is no price book {name!r}"))

    async def books(self) -> list[BookView]:
        return [
            BookView(name="cloudrun", title="Cloud Run", mode="cloudrun", source="x", date="2026")
        ]

    async def metrics(self) -> bytes:
        return b"windlass_requests_total 1\n"

    async def reload(self) -> ReloadView:
        if self.broken:
            raise Refused(problem(503, "worker-failed", "worker-1.x ended at its start"))
        return ReloadView(workers=("worker-1.a", "worker-2.b"))

    async def status(self) -> StatusView:
        if self.broken:
            raise RuntimeError("a fault of ours")
        return StatusView(
            version="0.1.0",
            runtime="fake",
            http="127.0.0.1:8080",
            domains=("localhost",),
            workers=1,
            started=1.0,
            state="/tmp/state",
            pid=1,
        )

    def _service(self, name: str) -> Service:
        if name not in self.known:
            raise Refused(problem(404, "no-such-service", f"There is no service {name!r}."))
        return self.known[name]

    def _view(self, name: str) -> ServiceView:
        service = self._service(name)
        revisions = [r for r in reversed(self.revisions.values()) if r.service == name]
        return ServiceView(
            name=name,
            url=f"http://{name}.localhost:8080",
            created=service.created,
            ready=True,
            labels=dict(service.labels),
            latest_created=service.latest_created,
            latest_ready=service.latest_ready,
            traffic=tuple(
                TrafficView(revision=part.revision, percent=part.percent, tag=part.tag)
                for part in rollout.splits(service)
            ),
            revisions=tuple(
                RevisionView(
                    name=revision.name,
                    service=name,
                    created=1.0,
                    ready=True,
                    template=revision.template,
                    image_digest=revision.image_digest,
                    instances={State.READY: 1},
                )
                for revision in revisions
            ),
        )


def _book_bill(name: str) -> BookBillView:
    amount = Decimal("0.0006") if name == "cloudrun" else Decimal("0.006")
    line = BillLineView(
        item="requests",
        quantity=Decimal(1000),
        unit="request",
        unit_price=Decimal("0.0000004"),
        amount=Decimal("0.0004"),
    )
    return BookBillView(
        book=name,
        title=name,
        mode="lambda" if name.startswith("lambda") else "cloudrun",
        actual=name == "cloudrun",
        billed_instance_seconds=Decimal("2.5"),
        lines=(line,),
        total=amount,
        per_million_requests=amount * 1000,
    )
