"""A comparison that looks like one that was run: every figure follows from the numbers here."""

from __future__ import annotations

from decimal import Decimal

from windlass.bench import schedule
from windlass.bench.compare import Comparison, ModeResult, Observed, Sample, Settings
from windlass.bench.tally import SECOND, LoadResult, Tally
from windlass.billing.book import load_books

BOOKS = load_books()
USUAL = (BOOKS["cloud-run-request-tier1"], BOOKS["lambda-x86"])
SETTINGS = Settings(image="shop/cart", rate=100, duration=20, ramp=4, path="/?ms=200")


def comparison(settings: Settings = SETTINGS) -> Comparison:
    """Return a run in which one shared instance did what twenty did alone."""
    return Comparison(
        settings=settings,
        cloudrun=_mode(settings, 0.2, 1, Decimal("0.00109"), Decimal("21.2")),
        lambda_=_mode(settings, 0.31, 22, Decimal("0.01021"), Decimal("344.1")),
    )


def _load(settings: Settings, took: float) -> LoadResult:
    """Return what a load measures whose first tenth waits for a start."""
    moments = list(schedule.arrivals(settings.rate, settings.duration, settings.ramp))
    tally = Tally(0, keep_spans=True)
    for number, moment in enumerate(moments):
        waited = took * (3 if number < len(moments) / 10 else 1) + number % 17 * 0.001
        begin = round(moment * SECOND)
        tally.began()
        tally.sent(begin, begin)
        tally.answered(200, begin, begin, begin + round(waited * SECOND))
    return tally.finish(round(settings.duration * SECOND))


def _mode(
    settings: Settings, took: float, instances: int, cost: Decimal, billed: Decimal
) -> ModeResult:
    load = _load(settings, took)
    looks = int(settings.duration * 2)
    course = tuple(
        Sample(
            second=look / 2,
            in_flight=round(min(1.0, look / 8) * settings.rate * took),
            instances=max(1, round(min(1.0, look / 12) * instances)),
            cost=cost * look / looks,
        )
        for look in range(1, looks + 1)
    )
    observed = Observed(
        cold_starts=instances,
        peak_instances=instances,
        billed_instance_seconds=billed,
        cost=cost,
        request_fees=load.requests * Decimal("0.40") / 10**6,
        instances_now=instances,
    )
    return ModeResult(load=load, observed=observed, course=course)
