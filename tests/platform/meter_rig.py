"""A meter of one service's revision, and what it is told, as the tests of it need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windlass.billing.meter import Meter
from windlass.billing.minutes import SECOND
from windlass.billing.rows import Amounts
from windlass.model.instance import Instance
from windlass.model.service import Container, Limits, Mode, Revision, Scaling, Template

if TYPE_CHECKING:
    from windlass.billing.rows import Batch, Saved

YEAR_2026 = 1_767_225_630 * SECOND  # and half a minute
MILLISECOND = 1_000_000
Stretch = tuple[int, int]


def a_revision(mode: Mode = Mode.CLOUDRUN, minimum: int = 0) -> Revision:
    template = Template(
        container=Container(image="shop"),
        limits=Limits(milli_cpu=1300, memory=700 * 1024**2),
        scaling=Scaling(min_instances=minimum),
        mode=mode,
    )
    return Revision(name="shop-00001", service="shop", number=1, created=0.0, template=template)


def an_instance(name: str = "shop-00001-a", **moments: Any) -> Instance:
    return Instance(id=name, revision="shop-00001", service="shop", **moments)


def meter_of(revision: Revision, saved: Saved | None = None, now: int = 0) -> Meter:
    return Meter({revision.name: revision}, now, YEAR_2026, saved)


def summed(batch: Batch) -> Amounts:
    return sum(batch.instance_minutes.values(), Amounts())


def tell(
    meter: Meter,
    end: int,
    *,
    requests: int = 0,
    busy: list[Stretch] | None = None,
    since: int | None = None,
    first_duration: int = 10 * MILLISECOND,
    worker: str = "worker-1.a",
) -> None:
    assert meter.take_report(worker, end, end)
    meter.count_instance(
        worker,
        "shop-00001-a",
        requests=requests,
        invocation_milliseconds=10 * requests,
        busy=busy or [],
        busy_since=since,
        first_duration=first_duration,
    )
