"""Holds the ledger against a recomputation from raw edges, a million of them.

    python -m windlass.bench.recompute --edges 1000000 --json FILE

A platform in virtual time: workers report what they served until it is acknowledged, batches are
flushed at random moments, the node is killed at random moments (also between a flush and its
writing), the wall clock is stepped, and months end. What the ledger then says of every instance,
and the bills in both modes' books, must be the recomputation's to the last digit.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.bench import machine
from windlass.bench.raw_edges import MILLISECOND, SECOND, RawLife, draw, recomputed
from windlass.billing.bill import bill
from windlass.billing.book import load_books
from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.rows import Amounts, Batch
from windlass.model.instance import Instance
from windlass.model.service import GIB, MIB, Container, Limits, Mode, Revision, Template

if TYPE_CHECKING:
    from windlass.billing.usage import Usage

MONTH_END = 1_793_491_200 * SECOND  # 2026-11-01 00:00 UTC, a week after Europe's clocks changed
ROUND = 40 * SECOND  # in which the instances of a round live
QUIET = 25 * SECOND  # after it, until everything is settled
MILLI_CPU, MEMORY = 1300, 700 * MIB
LAMBDA_MB = 2300  # 1.3 vCPU x 1769 MB, rounded up


def _revision(mode: Mode) -> Revision:
    limits = Limits(milli_cpu=MILLI_CPU, memory=MEMORY)
    template = Template(container=Container(image="shop"), limits=limits, mode=mode)
    name = f"shop-{'00001' if mode is Mode.CLOUDRUN else '00002'}"
    return Revision(name=name, service="shop", number=1, created=0.0, template=template)


REVISIONS = {mode: _revision(mode) for mode in Mode}


@dataclass
class Worker:
    """Reports what it served, and again until that is acknowledged."""

    name: str
    sequence: int = 0
    seen: int = 0  # moment up to which it has reported
    kept: list[tuple[int, int, list[tuple[RawLife, list[tuple[int, int]], int | None]]]] = field(
        default_factory=list
    )

    def report(self, now: int, lives: list[RawLife]) -> None:
        """Note what ended since the last report, and what goes on."""
        parts = []
        for life in lives:
            known = life.busy.get(self.name, [])
            closed = [stretch for stretch in known if self.seen < stretch[1] <= now]
            since = next((begin for begin, end in known if begin < now < end), None)
            if closed or since is not None:
                parts.append((life, closed, since))
        self.seen = now
        if parts:
            self.sequence += 1
            self.kept.append((self.sequence, now, parts))

    def tell(self, meter: Meter) -> None:
        """Send every report that is not acknowledged."""
        for sequence, end, parts in self.kept:
            if not meter.take_report(self.name, sequence, end):
                continue
            for life, closed, since in parts:
                lengths = [last - first for first, last in closed]
                meter.count_instance(
                    self.name,
                    life.instance.id,
                    requests=len(closed),
                    invocation_milliseconds=sum(-(-n // MILLISECOND) for n in lengths),
                    busy=closed,
                    busy_since=since,
                    first_duration=lengths[0] if lengths else 0,
                )

    def acknowledge(self, batch: Batch) -> None:
        """Forget what is in the ledger."""
        if mark := batch.marks.get(self.name):
            self.kept = [report for report in self.kept if report[0] > mark.sequence]


@dataclass
class Found:
    """What a run came to."""

    edges: int = 0
    instances: int = 0
    flushes: int = 0
    kills: int = 0
    clock_steps: int = 0
    differences: list[str] = field(default_factory=list)


class Run:
    """A platform in virtual time."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._ledger = Ledger(Path(":memory:"), boot="one")
        self._now = 0
        self._offset = MONTH_END - 3600 * SECOND
        self._meter = self._restarted()
        self._told: dict[str, Instance] = {}
        self._forgotten: set[str] = set()  # instances that the meter has let go
        self._expected: dict[str, Amounts] = {}
        self.found = Found()

    def play(self, edges: int) -> Found:
        """Play rounds until there were so many edges; return what differs."""
        while self.found.edges < edges:
            self._round()
        self._compare()
        self._ledger.close()
        return self.found

    def _restarted(self) -> Meter:
        revisions = {revision.name: revision for revision in REVISIONS.values()}
        return Meter(revisions, self._now, self._offset, self._ledger.load())

    def _round(self) -> None:
        begin, chance = self._now, self._chance
        mode = chance.choice(list(Mode))
        # In lambda mode which request was the first must be plain: one worker.
        workers = [Worker(f"worker-{n}.a") for n in range(chance.randint(1, 3))]
        workers = workers[:1] if mode is Mode.LAMBDA else workers
        for worker in workers:  # as a worker that was started anew has another name
            worker.name = worker.name.replace(".a", f".{begin}")
        lives = []
        revision, end = REVISIONS[mode].name, begin + ROUND
        for number in range(chance.randint(1, 12)):
            name = f"{revision}-{self.found.instances + number:06}"
            life = draw(chance, name, revision, mode, begin, end, len(workers))
            life.busy = {w.name: s for w, s in zip(workers, life.busy.values(), strict=False)}
            lives.append(life)
        self.found.instances += len(lives)
        while self._now < begin + ROUND + QUIET:
            self._now += chance.randint(SECOND // 2, 3 * SECOND // 2)
            self._tick(workers, lives, quiet=self._now >= begin + ROUND)
        for life in lives:
            self._expected[life.instance.id] = recomputed(life)
            self.found.edges += life.edges

    def _tick(self, workers: list[Worker], lives: list[RawLife], *, quiet: bool) -> None:
        chance = self._chance
        if not quiet and chance.random() < 0.05:
            self._kill()
        if chance.random() < 0.05:
            self._offset += chance.choice((-1, 1)) * chance.randint(SECOND, 7200 * SECOND)
            self.found.clock_steps += 1
        for life in lives:
            self._tell(life.instance)
        for worker in workers:
            worker.report(self._now, lives)
            worker.tell(self._meter)
        if quiet or chance.random() < 0.8:
            batch = self._meter.flush(self._now, self._offset)
            self.found.flushes += 1
            if not quiet and chance.random() < 0.05:  # before it was written
                self._kill()
                return
            self._ledger.append(batch)
            self._forgotten |= {name for name, state in batch.states.items() if state is None}
            for worker in workers:
                worker.acknowledge(batch)

    def _kill(self) -> None:
        self._meter, self._told = self._restarted(), {}
        self.found.kills += 1

    def _tell(self, instance: Instance) -> None:
        if instance.started > self._now or instance.id in self._forgotten:
            return
        moments = ("started", "ready", "stopping", "ended")
        known = {name: getattr(instance, name) for name in moments}
        seen = {name: at for name, at in known.items() if at is not None and at <= self._now}
        as_of_now = Instance(
            id=instance.id, revision=instance.revision, service=instance.service, **seen
        )
        if self._told.get(instance.id) != as_of_now:
            self._meter.changed(as_of_now)
            self._told[instance.id] = as_of_now

    def _compare(self) -> None:
        usage = self._ledger.usage(0, 4e9)
        counted: dict[str, Amounts] = defaultdict(Amounts)
        for used in usage.instances:
            counted[used.instance] += used.amounts
        for name, expected in self._expected.items():
            if counted[name] != expected:
                told = f"{name}: the ledger has {counted[name]}, the edges come to {expected}"
                self.found.differences.append(told)
        if self._meter.late:
            self.found.differences.append(f"{self._meter.late} ns were heard of too late")
        self._compare_bills(usage)

    def _compare_bills(self, usage: Usage) -> None:
        shared, alone = (
            [self._expected[name] for name in self._expected if name.startswith(revision.name)]
            for revision in (REVISIONS[Mode.CLOUDRUN], REVISIONS[Mode.LAMBDA])
        )
        books, everything = load_books(), [*shared, *alone]
        for book, expected in (
            ("cloud-run-request-tier1", _cloud_run(shared, everything)),
            ("lambda-x86", _lambda(everything)),
        ):
            written = Fraction(bill(usage, books[book]).total)
            if written != expected:
                told = f"the bill of {book} is {float(written)}, the edges cost {float(expected)}"
                self.found.differences.append(told)


def _cloud_run(shared: list[Amounts], everything: list[Amounts]) -> Fraction:
    billed = sum(a.startup + a.busy + a.shutdown + a.rounding_100ms for a in shared)
    a_second = Fraction(MILLI_CPU, 1000) * Fraction("0.000024")
    a_second += Fraction(MEMORY, GIB) * Fraction("0.0000025")
    requests = sum(a.requests for a in everything)
    return Fraction(billed, SECOND) * a_second + requests * Fraction("0.4") / 10**6


def _lambda(everything: list[Amounts]) -> Fraction:
    seconds = Fraction(sum(a.invocation_milliseconds for a in everything), 1000)
    requests = sum(a.requests for a in everything)
    gigabytes = Fraction(LAMBDA_MB, 1024)
    return seconds * gigabytes * Fraction("0.0000166667") + requests * Fraction("0.2") / 10**6


def main() -> None:
    """Play, print or write JSON; exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.recompute", description=__doc__)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    begin = time.monotonic()
    found = Run(given.seed).play(given.edges)
    result = {
        "command": " ".join(["python -m windlass.bench.recompute", *sys.argv[1:]]),
        "machine": machine.describe(),
        "seconds": round(time.monotonic() - begin, 1),
        **asdict(found),
    }
    text = json.dumps(result, indent=2) + "\n"
    if given.json:
        given.json.write_text(text)
    print(text, end="")
    sys.exit(1 if found.differences else 0)


if __name__ == "__main__":
    main()
