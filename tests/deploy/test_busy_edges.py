"""What several workers say was busy: in the ledger it is the union of all requests, to the ns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.deploy.shop import REVISION

from windlass.billing.bill import bill
from windlass.billing.book import load_books
from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.rows import Gap
from windlass.billing.running import RunningUsage
from windlass.billing.slices import union
from windlass.deploy.metering import Metering
from windlass.model.instance import Instance as Life
from windlass.router import link
from windlass.router.levels import Instance
from windlass.router.pool import Pool

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
WALL = 1_767_225_630 * SECOND
BOOK = load_books()["cloud-run-request-tier1"]
NAME = "shop-00001-a"


class Worker:
    """A worker's pool with slots of the one instance, and the requests it has had, as they were."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sequence = 0
        self.heard = 0  # moment up to which the node knows what it did
        self.kept = 0  # the same of the ledger
        self.pool: Pool[Instance, int] = Pool(
            link.RevisionRoute(name=REVISION.name, service="shop", concurrency=4, target=4), 0
        )
        self.instance = Instance(NAME, 4)
        self.pool.add(self.instance, 0)
        self.under_way: list[int] = []  # moments at which they began
        self.ended: list[tuple[int, int]] = []

    def begin(self, now: int) -> None:
        if len(self.under_way) < 4:
            assert self.pool.acquire(len(self.ended), now) is self.instance
            self.under_way.append(now)

    def end(self, now: int) -> None:
        if self.under_way:
            began = self.under_way.pop(0)
            self.pool.release(self.instance, began, now)
            self.ended.append((began, now))

    def report(self, now: int, metering: Metering) -> None:
        begin, self.heard = self.heard, now
        said = self.instance.counts.report(NAME, self.instance.in_flight)
        if said is None:
            metering.meter.quiet(self.name, now)
        else:
            self.sequence += 1
            report = link.Report(
                worker=self.name,
                sequence=self.sequence,
                begin=begin,
                end=now,
                revisions=(),
                instances=(said,),
            )
            assert metering.count(report)

    def known(self) -> list[tuple[int, int]]:
        """Return what it served, as far as the node can know it."""
        begun = [(began, self.heard) for began in self.under_way]
        return [(b, min(e, self.heard)) for b, e in [*self.ended, *begun] if b < self.heard]


class Node:
    """What the node keeps of three workers, killed and started anew over one ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger(Path(":memory:"), boot="one")
        self.workers: list[Worker] = []
        self.dead: list[Worker] = []
        self.open(0)
        self.metering.meter.changed(self.instance())
        self.flush(0)
        for place in (1, 2, 3):
            self.workers.append(self.new(f"worker-{place}.1", 0))

    def instance(self, ended: int | None = None) -> Life:
        name = REVISION.name
        return Life(id=NAME, revision=name, service="shop", started=0, ready=0, ended=ended)

    def open(self, now: int) -> None:
        revisions = {REVISION.name: REVISION}
        meter = Meter(revisions, now, WALL, self.ledger.load())
        running = RunningUsage(revisions)
        self.metering = Metering(meter, self.ledger, running, lambda worker, sequence: None)

    def new(self, name: str, now: int) -> Worker:
        worker = Worker(name)
        worker.heard, worker.kept = now, self.flushed
        self.metering.meter.expect(name, now)
        return worker

    def flush(self, now: int) -> None:
        self.ledger.append(self.metering.meter.flush(now, WALL))
        self.flushed = now
        for worker in (*self.workers, *self.dead):
            worker.kept = worker.heard

    def lose(self, at: int, now: int) -> None:
        """One worker is killed."""
        worker = self.workers[at]
        gap = self.metering.meter.worker_gone(worker.name, now, lost=True)
        assert gap == Gap(worker.name, WALL + worker.heard, WALL + now)
        self.dead.append(worker)
        self.workers[at] = self.new(f"{worker.name}x", now)

    def killed(self, now: int) -> None:
        """Node and workers are killed; what only the node knew is lost."""
        for worker in (*self.workers, *self.dead):
            worker.heard = worker.kept
        self.open(now)
        self.metering.meter.take_over([worker.name for worker in self.workers], now)
        for at in range(len(self.workers)):
            self.lose(at, now)
        self.flush(now)


# One worker dies, and then all: what the node heard of its death is lost, too.
TWICE = [(MILLISECOND, what, 0) for what in ("begin", "report", "flush", "dies", "killed")]
STEPS = st.lists(
    st.tuples(
        st.integers(1, 300 * MILLISECOND),
        st.sampled_from(["begin"] * 4 + ["end"] * 4 + ["report"] * 2 + ["flush", "dies", "killed"]),
        st.integers(0, 2),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=300)
@given(STEPS)
@example(TWICE)
def test_all_that_is_not_said_to_be_unknown_is_billed_whoever_is_killed(
    steps: list[tuple[int, str, int]],
) -> None:
    node = Node()
    now = 0
    for number, (step, what, at) in enumerate(steps):
        now += step
        worker = node.workers[at]
        match what:
            case "begin":
                worker.begin(now)
            case "end":
                worker.end(now)
            case "report":
                worker.report(now, node.metering)
            case "flush":
                node.flush(now)
            case "dies":
                node.lose(at, now)
            case "killed":
                node.killed(now)
        if number % 3 == 0:  # reports are never late
            for each in node.workers:
                each.report(now, node.metering)
    meter, workers = node.metering.meter, [*node.workers, *node.dead]
    for each in node.workers:
        while each.under_way:
            each.end(now)
        each.report(now, node.metering)
        assert meter.worker_gone(each.name, now, lost=False) is None
    ended = now + SECOND
    meter.changed(node.instance(ended))
    node.flush(ended + SECOND)

    busy = union([stretch for each in workers for stretch in each.known()], 0, ended)
    plain = sum(end - begin for begin, end in busy)
    grain = 100 * MILLISECOND
    rounded = sum(-(-(end - begin) // grain) * grain for begin, end in busy)
    requests = [(b, e) for each in workers for b, e in each.ended if e <= each.heard]
    usage = node.ledger.usage(0, 4e9)
    total = usage.total()
    assert (total.busy, total.idle) == (plain, ended - plain)
    assert total.busy + total.rounding_100ms == rounded
    assert total.requests == len(requests)
    assert total.invocation_milliseconds == sum(-(-(e - b) // MILLISECOND) for b, e in requests)
    seconds = Fraction(rounded, SECOND)
    expected = seconds * (Fraction("0.000024") + Fraction("0.0000025") / 2)
    expected += len(requests) * Fraction("0.4") / 1_000_000
    assert Fraction(bill(usage, BOOK).total) == expected
    assert meter.late == 0
