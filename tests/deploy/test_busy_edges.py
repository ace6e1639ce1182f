"""What several workers say was busy: in the ledger it is the union of all requests, to the ns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.billing.bill import bill
from windlass.billing.book import load_books
from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.running import RunningUsage
from windlass.billing.slices import union
from windlass.deploy.metering import Metering
from windlass.model.instance import Instance as Life
from windlass.model.service import Container, Limits, Revision, Template
from windlass.router import link
from windlass.router.pool import Instance, Pool

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
WALL = 1_767_225_630 * SECOND
BOOK = load_books()["cloud-run-request-tier1"]
NAME = "shop-00001-a"
REVISION = Revision(
    name="shop-00001",
    service="shop",
    number=1,
    created=0.0,
    template=Template(
        container=Container(image="shop"), limits=Limits(milli_cpu=1000, memory=512 * 1024**2)
    ),
)


class Worker:
    """A worker's pool with slots of the one instance, and the requests it has had, as they were."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sequence = 0
        self.heard = 0  # moment up to which the node knows what it did
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
        if said is not None:
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


STEPS = st.lists(
    st.tuples(
        st.integers(0, 300 * MILLISECOND),
        st.sampled_from(["begin"] * 4 + ["end"] * 4 + ["report"] * 2 + ["flush", "dies"]),
        st.integers(0, 2),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_the_bill_is_that_of_the_union_of_all_requests_though_workers_die(
    steps: list[tuple[int, str, int]],
) -> None:
    revisions = {REVISION.name: REVISION}
    ledger = Ledger(Path(":memory:"), boot="one")
    meter = Meter(revisions, 0, WALL)
    metering = Metering(meter, ledger, RunningUsage(revisions), lambda worker, sequence: None)
    meter.changed(Life(id=NAME, revision=REVISION.name, service="shop", started=0, ready=0))
    workers = [Worker(f"worker-{number}.1") for number in (1, 2, 3)]
    dead: list[Worker] = []
    now = 0
    for number, (step, what, at) in enumerate(steps):
        now += step
        worker = workers[at]
        match what:
            case "begin":
                worker.begin(now)
            case "end":
                worker.end(now)
            case "report":
                worker.report(now, metering)
            case "flush":
                ledger.append(meter.flush(now, WALL))
            case "dies":
                meter.worker_gone(worker.name, now)
                dead.append(worker)
                workers[at] = Worker(f"{worker.name}x")
                workers[at].heard = now
        if number % 3 == 0:  # reports are never late
            for each in workers:
                each.report(now, metering)
    for each in workers:
        while each.under_way:
            each.end(now)
        each.report(now, metering)
    ended = now + SECOND
    meter.changed(
        Life(id=NAME, revision=REVISION.name, service="shop", started=0, ready=0, ended=ended)
    )
    ledger.append(meter.flush(ended + SECOND, WALL))

    busy = union([stretch for each in (*workers, *dead) for stretch in each.known()], 0, ended)
    plain = sum(end - begin for begin, end in busy)
    grain = 100 * MILLISECOND
    rounded = sum(-(-(end - begin) // grain) * grain for begin, end in busy)
    requests = [(b, e) for each in (*workers, *dead) for b, e in each.ended if e <= each.heard]
    usage = ledger.usage(0, 4e9)
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
    assert not any(meter.is_busy(each.name) for each in (*workers, *dead))
