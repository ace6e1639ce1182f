"""Measures what flushes of the meter take of the node's event loop, under synthetic reports.

    python -m windlass.bench.meter_flush --instances 8 --stretches 2000 --json FILE

Each instance is busy and idle by turns so many times a second, the worst case: every stretch is a
slice. The meter runs in virtual time; nothing is written to a ledger.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from windlass.bench import machine
from windlass.billing.meter import Meter
from windlass.model.instance import Instance
from windlass.model.service import Container, Limits, Revision, Template

SECOND = 1_000_000_000  # ns
REVISION = Revision(
    name="shop-00001",
    service="shop",
    number=1,
    created=0.0,
    template=Template(container=Container(image="shop"), limits=Limits()),
)
WARM_UP = 5  # flushes that are not counted: nothing is settled yet


def measure(instances: int, stretches: int, flushes: int) -> list[float]:
    """Return the seconds of CPU time that each flush took."""
    meter = Meter({REVISION.name: REVISION}, 0, 0)
    names = [f"{REVISION.name}-{number:05}" for number in range(instances)]
    for name in names:
        meter.changed(
            Instance(id=name, revision=REVISION.name, service=REVISION.service, started=0, ready=1)
        )
    took = []
    for now in range(SECOND, (WARM_UP + flushes + 1) * SECOND, SECOND):
        meter.take_report("worker-1", now // SECOND, now)
        for name in names:
            _report(meter, name, stretches, now - SECOND)
        begin = time.thread_time()
        meter.flush(now, 0)
        took.append(time.thread_time() - begin)
    return took[WARM_UP:]


def _report(meter: Meter, instance: str, stretches: int, begin: int) -> None:
    every = SECOND // stretches
    busy = [(begin + at * every, begin + at * every + every // 2) for at in range(stretches)]
    meter.count_instance(
        "worker-1",
        instance,
        requests=stretches,
        invocation_milliseconds=stretches,
        busy=busy,
        busy_since=None,
    )


def main() -> None:
    """Measure, and print or write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=8)
    parser.add_argument("--stretches", type=int, default=2000, help="per instance and second")
    parser.add_argument("--flushes", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    given = parser.parse_args()
    took = sorted(measure(given.instances, given.stretches, given.flushes))
    result = {
        "command": " ".join(["python -m windlass.bench.meter_flush", *sys.argv[1:]]),
        "machine": machine.describe(),
        "instances": given.instances,
        "stretches_per_instance_and_second": given.stretches,
        "flushes": given.flushes,
        "median_cpu_seconds": round(took[len(took) // 2], 6),
        "worst_cpu_seconds": round(took[-1], 6),
    }
    text = json.dumps(result, indent=2) + "\n"
    if given.json:
        given.json.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
