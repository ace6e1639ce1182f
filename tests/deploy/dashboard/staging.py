"""A platform in memory that looks busy: many services, instances with lives, decisions, costs.

Everything follows from names and the time given to it, so that a page is the same twice.
"""

from __future__ import annotations

import time
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from aiohttp import web
from tests.deploy.memory import MemoryPlatform

from windlass.bench.compare import Settings
from windlass.bench.show import title
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.api.schema import (
    BillTerms,
    BillView,
    CostView,
    DecisionView,
    EventView,
    InstanceView,
    LogLineView,
    OverviewView,
    SliceView,
    TimelineView,
)
from windlass.deploy.api.server import make_app
from windlass.deploy.comparison.settings import Asked
from windlass.deploy.comparison.views import Ended, Failed, Told
from windlass.model.instance import State
from windlass.model.service import Container, Mode, Template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from windlass.deploy.comparison.views import RunView

NAMES = ("checkout", "hello", "images", "login", "mailer", "search", "thumbnails", "webhooks")
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class StagedPlatform(MemoryPlatform):
    """Has the services it is given; `clock` says the time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.clock = clock
        self.begun = clock()
        self.ledger_fails = False
        self.busy: dict[str, int] = {}  # service -> how much is going on, 0: asleep
        self.modes: dict[str, Mode] = {}
        self.lines: dict[str, list[str]] = defaultdict(list)

    async def stage(self, *names: str) -> None:
        """Deploy services; every fourth is asleep, every third runs one request at a time."""
        for number, name in enumerate(names):
            self.modes[name] = Mode.LAMBDA if number % 3 == 2 else Mode.CLOUDRUN
            self.busy[name] = (number * 7 + 3) % 11 if number % 4 != 3 else 0
            template = Template(container=Container(image=f"shop/{name}"), mode=self.modes[name])
            async for _ in self.deploy(name, template, labels={}, traffic=True, health_check=False):
                pass

    async def overview(self) -> list[OverviewView]:
        return [self._overview(name) for name in sorted(self.known)]

    def _overview(self, name: str) -> OverviewView:
        busy = self.busy.get(name, 0)
        passed = 300 + self.clock() - self.begun
        latency = tuple(
            (bound, int(passed * busy * share))
            for bound, share in zip(BUCKETS, (9, 14, 5, 2, 0.6, 0.05), strict=True)
            if busy
        )
        states = {State.READY: 1 + busy // 3} if busy else {}
        if busy > 8:
            states[State.STARTING] = 1
        return OverviewView(
            name=name,
            url=f"http://{name}.localhost:8080",
            ready=True,
            mode=self.modes.get(name, Mode.CLOUDRUN),
            instances=states,
            in_flight=busy * 9,
            queued=12 if busy > 8 else 0,
            requests=sum(count for _, count in latency),
            errors=3 if busy == 5 else 0,
            cold_starts=busy * 2,
            latency=latency,
        )

    def _read_ledger(self) -> None:
        if self.ledger_fails:
            raise Refused(problem(503, "ledger-unavailable", "the ledger cannot be read"))

    async def bill(
        self,
        service: str | None,
        book: str | None,
        since: float | None,
        until: float | None = None,
        terms: BillTerms | None = None,
    ) -> BillView:
        self._read_ledger()
        return await super().bill(service, book, since, until, terms)

    async def costs(self, since: float) -> list[CostView]:
        self._read_ledger()
        return [self._cost(name) for name in sorted(self.known) if self.busy.get(name)]

    def _cost(self, name: str) -> CostView:
        is_lambda = self.modes[name] is Mode.LAMBDA
        shared, single = Decimal("0.011") * self.busy[name], Decimal("0.083") * self.busy[name]
        own, other = (single, shared) if is_lambda else (shared, single)
        requests = 9000 * self.busy[name]
        return CostView(
            service=name,
            requests=requests,
            book="Lambda" if is_lambda else "Cloud Run",
            total=own,
            per_million_requests=own * 1_000_000 / requests,
            other_book="Cloud Run" if is_lambda else "Lambda",
            other_total=other,
            other_per_million_requests=other * 1_000_000 / requests,
        )

    async def timeline(self, name: str, since: float) -> list[TimelineView]:
        revision = self._service(name).latest_ready
        return [
            TimelineView(
                instance=f"{revision}-{letter * 5}",
                revision=revision,
                slices=tuple(self._slices(number)),
            )
            for number, letter in enumerate("abcde")
        ]

    def _slices(self, number: int) -> list[SliceView]:
        """Return a life: up, then busy and idle by turns; the later ones come down again."""
        begin = self.begun - 280 + number * 31
        end = self.clock() if number < 2 else begin + 90 + number * 11
        slices = [SliceView(kind="startup", begin=begin, end=begin + 1.4, rate="active")]
        at, turn = begin + 1.4, number
        while at < end - 0.5:
            idle, busy = 1 + turn * 5 % 7, 6 + turn * 3 % 11
            turn += 1
            middle, stop = min(at + idle, end), min(at + idle + busy, end)
            rest = min(at + 2.0, middle)
            slices.append(SliceView(kind="idle", begin=at, end=rest, rate="free"))
            if rest < middle:
                slices.append(SliceView(kind="frozen", begin=rest, end=middle, rate="free"))
            if stop > middle:
                slices.append(SliceView(kind="busy", begin=middle, end=stop, rate="active"))
            at = stop
        if number >= 2:
            slices.append(SliceView(kind="shutdown", begin=at, end=at + 2.5, rate="active"))
        return slices

    async def instances(self, name: str) -> list[InstanceView]:
        revision = self._service(name).latest_ready
        return [
            InstanceView(
                id=f"{revision}-{letter * 5}",
                service=name,
                revision=revision,
                state=State.READY if number < 2 else State.STOPPED,
                address=f"127.0.0.1:4000{number}",
                in_flight=41 - number if number < 2 else 0,
                requests=1800 - number * 250,
                started=self._slices(number)[0].begin,
                ready=self._slices(number)[0].end,
                ended=None if number < 2 else self._slices(number)[-1].end,
                reason="90 requests wait" if number < 2 else "idle for 60 s",
            )
            for number, letter in enumerate("abcde")
        ]

    async def explain(self, name: str) -> list[DecisionView]:
        revision = self._service(name).latest_ready
        return [
            DecisionView(
                time=self.begun - 280 + after,
                revision=revision,
                desired=desired,
                reason=reason,
                ready=max(0, desired - 1),
                starting=1,
                in_flight=desired * 40,
                queued=10 if after < 100 else 0,
            )
            for after, desired, reason in (
                (0, 1, "10 requests wait and no instance is there"),
                (31, 2, "10 requests wait, 1 instance is full"),
                (62, 3, "in flight 143 on average over 60 s, 56 aimed at per instance"),
                (93, 4, "in flight 201 on average over 60 s, 56 aimed at per instance"),
                (124, 5, "in flight 266 on average over 60 s, 56 aimed at per instance"),
                (190, 3, "in flight 130 on average over 60 s, 56 aimed at per instance"),
                (236, 2, "in flight 82 on average over 60 s, 56 aimed at per instance"),
            )
        ]

    async def events(self, name: str) -> list[EventView]:
        revision = self._service(name).latest_ready
        happened = (
            (-281.0, "Deployed", f"{revision} serves all requests"),
            (-278.6, "InstanceReady", f"{revision}-aaaaa is ready: 10 requests wait"),
            (-150.0, "InstanceFailed", f"{revision}-zzzzz is failed: out of memory"),
            (-40.0, "InstanceStopped", f"{revision}-eeeee is stopped"),
        )
        return [
            EventView(
                time=self.begun + after,
                kind=kind,
                level="warning" if kind == "InstanceFailed" else "info",
                service=name,
                message=message,
            )
            for after, kind, message in happened
        ]

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[LogLineView]:
        revision = self._service(name).latest_ready
        lines = [f"GET /items/{number} 200 {number * 13 % 90} ms" for number in range(40)]
        for number, text in enumerate([*lines, *self.lines[name]][-tail:]):
            yield LogLineView(
                time=self.begun - 100 + number,
                revision=revision,
                instance=f"{revision}-aaaaa",
                stream="stderr" if number % 9 == 5 else "stdout",
                text=text,
            )

    async def stage_run(self, state: str) -> RunView:
        """Have a comparison of `hello` in a state: shared, alone, ended, failed or cancelled."""
        template = self.revisions["hello-00001"].template
        load = Settings(service="hello", image="shop/hello", duration=20, path="/?ms=200")
        run = await self.comparisons.start(Asked(load, template))
        run.title = title(load)
        for name in ("cloudrun", "lambda"):
            run.take(Told(mode=name, stage="deploy", service=f"compare-{name}-1a2b"))
            seconds = 20 if (name, state) != ("lambda", "alone") else 11
            for half in range(1, seconds * 2 + 1):
                run.take(told(name, half / 2))
            if state == "shared":
                return run
        if state == "failed":
            run.take(Failed(why="It exited with 3.\nIts last lines:\n  no such file"))
        elif state == "cancelled":
            await self.comparisons.cancel()
        elif state == "ended":
            self.end_run(run)
        return run

    def end_run(self, run: RunView) -> None:
        """Let a comparison come to its end."""
        run.take(
            Ended(
                ratio=8.74,
                said=("One request per instance costs 8.7 times as much: they shared.",),
                rows=(("requests", "1750", "1750"), ("cost", "$0.001116", "$0.009758")),
                errors=("Lambda mode: 3 times status 429",),
            )
        )


def told(mode: str, second: float) -> Told:
    """Return how a load of a hundred requests a second stands, twenty in flight."""
    alone = mode == "lambda"
    instances = min(22, 1 + round(second * 5)) if alone else 1
    cost = Decimal("0.0000557") * round(second * 10) / 10
    return Told(
        mode=mode,
        stage="load",
        elapsed=second,
        requests=round(second * 87.5),
        rate=99.6,
        errors=3 if alone else 0,
        latency=(0.203, 0.241, 1.31) if alone else (0.204, 0.219, 0.287),
        in_flight=min(20, round(second * 4)),
        instances=instances,
        peak_instances=instances,
        cold_starts=18 if alone else 1,
        billed_seconds=Decimal(round(second * 10)) / 10 * (17 if alone else 1),
        cost=cost * Decimal("8.74") if alone else cost,
    )


async def serve(platform: StagedPlatform) -> AsyncIterator[str]:
    """Serve a platform's admin port as `windlass up` does, on a free port."""
    runner = web.AppRunner(make_app(platform), handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0])
    await runner.cleanup()
