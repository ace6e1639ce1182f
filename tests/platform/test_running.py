"""Running sums: what metrics show without asking the ledger."""

from __future__ import annotations

from windlass.billing.meter import Meter
from windlass.billing.running import RunningUsage, billed
from windlass.model.instance import Instance
from windlass.model.service import Container, Mode, Revision, Template

SECOND = 1_000_000_000


def _revision(mode: Mode) -> Revision:
    name = f"{mode}-00001"
    template = Template(container=Container(image="shop"), mode=mode)
    return Revision(name=name, service=mode, number=1, created=0.0, template=template)


def test_batches_are_summed_by_service_and_forgotten_with_it() -> None:
    revisions = {revision.name: revision for revision in map(_revision, Mode)}
    meter, running = Meter(revisions, 0, 0), RunningUsage(revisions)
    for name, revision in revisions.items():
        meter.changed(
            Instance(id=f"{name}-abcde", revision=name, service=revision.service, started=0)
        )
    running.add(meter.flush(SECOND, 0))
    meter.take_report("worker-1", 1, SECOND)
    meter.count_instance(
        "worker-1",
        "lambda-00001-abcde",
        requests=2,
        invocation_milliseconds=30,
        busy=(),
        busy_since=None,
    )
    meter.count_revision("worker-1", "lambda-00001", packed=5, cold_starts=1)
    revisions.clear()  # deleted meanwhile: what is known of them stays known
    running.add(meter.flush(3 * SECOND, 0))
    usages = running.take_changed()
    assert {
        name: (billed(usage.instances[0]), usage.total().requests, usage.cold_starts)
        for name, usage in usages.items()
    } == {"cloudrun": (3 * SECOND, 0, 0), "lambda": (30_000_000, 2, 1)}
    assert running.take_changed() == {}
    running.add(meter.flush(4 * SECOND, 0))
    running.forget("lambda")
    assert list(running.take_changed()) == ["cloudrun"]
