"""Turns usage into the quantities that a book has prices for: pure arithmetic, by calendar month.

What did not run in the book's mode is computed from what the same requests would have taken.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from windlass.billing.book import InstanceTime, Invocations, Measure, Rate
from windlass.model.service import GIB, MIB, Limits, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from windlass.billing.book import Book, Rates, Rounding
    from windlass.billing.rows import Amounts
    from windlass.billing.usage import InstanceUsage, RevisionMonth, Usage

MILLISECOND = 1_000_000  # ns
SECOND = 1000 * MILLISECOND

SHARED_AS_LAMBDA = (
    "Computed from the durations that the requests had on shared instances, one at a time per "
    "instance and each rounded up to 1 ms; warm: no start is added, and no environment is "
    "provisioned."
)
LAMBDA_AS_SHARED = (
    "Computed as if instances had been shared: for every moment, as many as its requests in "
    f"flight need at a concurrency of {Limits().concurrency}; starts, shutdowns, the rounding of "
    "slices and idle minimums are not added."
)

_CPU: Mapping[Rate, Measure] = {"active": Measure.CPU_ACTIVE, "idle": Measure.CPU_IDLE}
_MEMORY: Mapping[Rate, Measure] = {
    "active": Measure.MEMORY_ACTIVE,
    "idle": Measure.MEMORY_IDLE,
    "held": Measure.MEMORY_HELD,
}


class Term(msgspec.Struct, frozen=True):
    """Nanoseconds of one kind that are paid for, at a rate."""

    kind: str
    rate: Rate
    length: int


@dataclass(slots=True)
class Quantities:
    """How much of each measure there is in each month."""

    months: dict[str, dict[Measure, Decimal]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Decimal))
    )
    billed: int = 0  # ns of instances or invocations that are paid for
    assumptions: list[str] = field(default_factory=list)


def quantities(usage: Usage, book: Book, rounding: Rounding | None) -> Quantities:
    """Return what there is to pay for.

    Args:
        usage: what was metered.
        book: whose rules hold.
        rounding: instead of the book's own. Invocations are metered in whole milliseconds: with
            "none", the least is taken that their durations can have been.
    """
    found = Quantities()
    for instance in usage.instances:
        found.months[instance.month][Measure.REQUESTS] += instance.amounts.requests
    if isinstance(book.billing, InstanceTime):
        _instance_time(found, usage, book.billing, rounding or book.billing.rounding)
    elif isinstance(book.billing, Invocations):
        _invocations(found, usage, book, book.billing, rounding)
    else:
        found.months["all"][Measure.PERIOD] += usage.until - usage.since
    return found


def lambda_memory(milli_cpu: int, memory: int, rule: Invocations) -> int:
    """Return the MB with which Lambda gives at least that memory (bytes) and that much CPU.

    Lambda gives CPU by memory, one vCPU with 1769 MB (its developer guide, "Memory").
    """
    wanted = max(_up(memory, MIB), _up(milli_cpu * rule.memory_per_cpu, 1000), rule.memory_minimum)
    return min(_up(wanted, rule.memory_step) * rule.memory_step, rule.memory_maximum)


def _instance_time(found: Quantities, usage: Usage, rule: InstanceTime, rounding: Rounding) -> None:
    for instance in usage.instances:
        if instance.mode is Mode.CLOUDRUN:
            lengths: dict[Rate, int] = defaultdict(int)
            for term in instance_terms(instance, rule, rounding):
                lengths[term.rate] += term.length
            _add_time(found, instance, rule, lengths)
    for revision in usage.revisions:
        if revision.mode is Mode.LAMBDA:
            _add_time(found, revision, rule, {"active": revision.counts.packed})
    if any(instance.mode is Mode.LAMBDA for instance in usage.instances):
        found.assumptions.append(LAMBDA_AS_SHARED)


def instance_terms(
    instance: InstanceUsage, rule: InstanceTime, rounding: Rounding
) -> Iterator[Term]:
    """Yield the time to pay for of an instance whose requests share it, the rounding last."""
    amounts = instance.amounts
    active = 0
    for kind, length in _kinds(amounts, rule.rates).items():
        rate: Rate = getattr(rule.rates, kind)
        if rate != "free" and length:
            yield Term(kind, rate, length)
            active += length if rate == "active" else 0
    added = 0
    if rounding == "per_slice":
        added = amounts.rounding_100ms if rule.granularity == 100 else amounts.rounding_1s
    elif rounding == "per_instance":
        added = -active % (rule.granularity * MILLISECOND)
    if added:
        yield Term("rounding", "active", added)


def invocation_milliseconds(amounts: Amounts, rounding: Rounding | None) -> int:
    """Return the milliseconds of invocations to pay for."""
    least = amounts.invocation_milliseconds - amounts.requests
    return max(0, least) if rounding == "none" else amounts.invocation_milliseconds


def held_milliseconds(instance: InstanceUsage, book: Book, rounding: Rounding | None) -> int:
    """Return the part of `invocation_milliseconds` that provisioned environments served."""
    if not _provisions(instance, book):
        return 0
    most = invocation_milliseconds(instance.amounts, rounding)
    return min(most, instance.amounts.held_milliseconds)


def provisioned(instance: InstanceUsage, book: Book, rounding: Rounding | None) -> int:
    """Return the nanoseconds for which an environment is paid because it was provisioned."""
    if not _provisions(instance, book):
        return 0
    amounts = instance.amounts
    return amounts.held + (0 if rounding == "none" else amounts.rounding_5min)


def _provisions(instance: InstanceUsage, book: Book) -> bool:
    prices = any(price.measure is Measure.PROVISIONED for price in book.prices)
    return prices and instance.mode is Mode.LAMBDA


def _kinds(amounts: Amounts, rates: Rates) -> dict[str, int]:
    busy_held = amounts.held - amounts.warm if rates.busy_held else 0
    return {
        "startup": amounts.startup,
        "busy": amounts.busy - busy_held,
        "busy_held": busy_held,
        "shutdown": amounts.shutdown,
        "idle": amounts.idle - amounts.warm,
        "warm": amounts.warm,
    }


def _add_time(
    found: Quantities,
    of: RevisionMonth,
    rule: InstanceTime,
    lengths: Mapping[Rate, int],
) -> None:
    cpus = _up(of.milli_cpu, 1000) * 1000 if rule.whole_cpus else of.milli_cpu
    memory = _memory(of.memory, cpus, rule)
    month = found.months[of.month]
    for rate, length in lengths.items():
        if rate in _CPU:
            month[_CPU[rate]] += Decimal(length * cpus) / (1000 * SECOND)
        month[_MEMORY[rate]] += Decimal(length * memory) / (SECOND * GIB)
        found.billed += length


def _memory(memory: int, milli_cpu: int, rule: InstanceTime) -> int:
    """Return the bytes to pay for."""
    if rule.memory_sizes:
        enough = (size for size in rule.memory_sizes if size * MIB >= memory)
        return next(enough, rule.memory_sizes[-1]) * MIB
    return max(0, memory - rule.memory_included * MIB * milli_cpu // 1000)


def _invocations(
    found: Quantities, usage: Usage, book: Book, rule: Invocations, rounding: Rounding | None
) -> None:
    sizes = set()
    for instance in usage.instances:
        milliseconds = invocation_milliseconds(instance.amounts, rounding)
        held = held_milliseconds(instance, book, rounding)
        reserved = provisioned(instance, book, rounding)
        megabytes = lambda_memory(instance.milli_cpu, instance.memory, rule)
        sizes.add(megabytes)
        month = found.months[instance.month]
        month[Measure.DURATION] += Decimal((milliseconds - held) * megabytes) / (1000 * 1024)
        month[Measure.PROVISIONED_DURATION] += Decimal(held * megabytes) / (1000 * 1024)
        month[Measure.PROVISIONED] += Decimal(reserved * megabytes) / (SECOND * 1024)
        disk = rule.storage - rule.storage_included
        month[Measure.STORAGE] += Decimal(milliseconds * disk) / (1000 * 1024)
        found.billed += milliseconds * MILLISECOND + reserved
    if sizes:
        shown = ", ".join(f"{size} MB" for size in sorted(sizes))
        found.assumptions.append(f"Memory that gives at least the same memory and CPU: {shown}.")
    if rule.memory_maximum in sizes:
        found.assumptions.append(
            f"More than {rule.memory_maximum} MB, and the CPU they bring, cannot be had."
        )
    if any(instance.mode is Mode.CLOUDRUN for instance in usage.instances):
        found.assumptions.append(SHARED_AS_LAMBDA)


def _up(quantity: int, grain: int) -> int:
    """Return how many grains cover the quantity."""
    return -(-quantity // grain)
