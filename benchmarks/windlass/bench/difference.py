"""Where the difference between the two bills comes from, and the bills that theory expects.

Arithmetic on a comparison. The theory knows the load, the times that its client measured, how long
instances took to start, and the list prices; nothing of what the platform metered, so that the two
can be held against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from windlass.bench import schedule
from windlass.model.service import GIB, MIB

if TYPE_CHECKING:
    from windlass.bench.compare import Comparison, ModeResult, Observed, Settings

# US dollars, list prices without free tier as of 2026-11-23.
# cloud.google.com/run/pricing, request-based billing, tier 1
_CPU_SECOND = Decimal("0.000024")
_GIB_SECOND = Decimal("0.0000025")
_CLOUDRUN_REQUEST = Decimal("0.40") / 10**6
# aws.amazon.com/lambda/pricing, x86, us-east-1, first tier
_GB_SECOND = Decimal("0.0000166667")
_LAMBDA_REQUEST = Decimal("0.20") / 10**6
_SLICE = 0.1  # seconds to which Cloud Run rounds up
_MB_PER_CPU = 1769  # Lambda gives CPU by memory; this much is worth one vCPU


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """What the load should take and cost, its starts included."""

    cloudrun_seconds: float
    lambda_seconds: float
    cloudrun_cost: Decimal
    lambda_cost: Decimal

    @property
    def ratio(self) -> float:
        """Lambda's cost over Cloud Run's."""
        return float(self.lambda_cost / self.cloudrun_cost)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The measured ratio of the bills and its two factors: ratio = sharing x price."""

    ratio: float
    overlap: float  # request-seconds served in a billed instance-second of cloudrun mode
    sharing: float  # what cloudrun's bill would be without overlap, over what it is
    price: float  # the rest: the providers' prices of a second and of a request, and starts


def difference(comparison: Comparison) -> Difference | None:
    """Return the factors; None where a bill is 0."""
    shared, alone = comparison.cloudrun.observed, comparison.lambda_.observed
    if shared is None or alone is None or not shared.cost or not shared.billed_instance_seconds:
        return None
    ratio = float(alone.cost / shared.cost)
    overlap = _overlap(comparison.cloudrun, shared)
    by_time = float((shared.cost - shared.request_fees) / shared.cost)
    sharing = by_time * overlap + (1 - by_time)
    return Difference(ratio=ratio, overlap=overlap, sharing=sharing, price=ratio / sharing)


def _overlap(mode: ModeResult, observed: Observed) -> float:
    return mode.service_time * mode.answered / float(observed.billed_instance_seconds)


def verdict(ratio: float) -> str:
    """Say what one request per instance costs, as a clause."""
    if 0.95 <= ratio < 1.05:
        return "One request per instance costs about the same"
    if ratio < 1:
        return f"One request per instance costs {100 * (1 - ratio):.0f} % less"
    return f"One request per instance costs {ratio:.1f} times as much"


def sentence(found: Difference) -> str:
    """Say in one sentence where the difference comes from."""
    return (
        f"{verdict(found.ratio)}: in cloudrun mode {found.overlap:.1f} requests shared each billed "
        f"instance-second, which makes a factor of {found.sharing:.2f}; "
        f"the other {found.price:.2f} are the two providers' prices, and starts that are billed."
    )


def closed_form(comparison: Comparison) -> ClosedForm | None:
    """Compute both bills from the load's own schedule and the client's own measurements.

    A request takes the mode's mean work time; what it waited for a start is billed as that start,
    once. Cloud Run bills the time in which an
    instance has a request, at best the integral of ceil(in flight / concurrency), and starts, each
    stretch rounded up to 100 ms; Lambda bills each request's time, rounded up to a millisecond, and
    starts. Shutdowns are left out: instances still live when the bill is read. None where nothing
    was answered.
    """
    settings = comparison.settings
    shared, alone = comparison.cloudrun, comparison.lambda_
    if not shared.answered or not alone.answered:
        return None
    if settings.clients is None:
        moments = list(schedule.arrivals(settings.rate, settings.duration, settings.ramp))
        requests_shared = requests_alone = len(moments)
        busy = schedule.packed_seconds(moments, shared.work_time, settings.concurrency, _SLICE)
    else:
        requests_shared, requests_alone = shared.answered, alone.answered
        busy = settings.duration * math.ceil(settings.clients / settings.concurrency)
    busy += sum(schedule.round_up(start, _SLICE) for start in _starts(shared))
    billed = requests_alone * math.ceil(alone.work_time * 1000) / 1000 + sum(_starts(alone))
    return ClosedForm(
        cloudrun_seconds=busy,
        lambda_seconds=billed,
        cloudrun_cost=_cloudrun_cost(settings, busy, requests_shared),
        lambda_cost=_lambda_cost(settings, billed, requests_alone),
    )


def apart(measured: ModeResult, expected: Decimal) -> float | None:
    """Return by which part the metered cost is above what is expected; None: nothing metered."""
    if measured.observed is None or not expected:
        return None
    return float(measured.observed.cost / expected - 1)


def _starts(mode: ModeResult) -> tuple[float, ...]:
    return mode.observed.starts if mode.observed else ()


def lambda_megabytes(settings: Settings) -> int:
    """Return the memory with which Lambda gives at least the same memory and the same CPU."""
    return max(math.ceil(settings.memory / MIB), math.ceil(settings.milli_cpu * _MB_PER_CPU / 1000))


def _cloudrun_cost(settings: Settings, seconds: float, requests: int) -> Decimal:
    cpu = Decimal(settings.milli_cpu) / 1000 * _CPU_SECOND
    memory = Decimal(settings.memory) / GIB * _GIB_SECOND
    return Decimal(seconds) * (cpu + memory) + requests * _CLOUDRUN_REQUEST


def _lambda_cost(settings: Settings, seconds: float, requests: int) -> Decimal:
    gigabytes = Decimal(lambda_megabytes(settings)) / 1024
    return Decimal(seconds) * gigabytes * _GB_SECOND + requests * _LAMBDA_REQUEST
