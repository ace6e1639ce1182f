"""The rules of each provider's book, with worked examples in its own units."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from tests.platform.metered import used

from windlass.billing.bill import Bill, bill
from windlass.billing.book import Book, BookFault, Invocations, load_books, read_book
from windlass.billing.rows import Amounts
from windlass.billing.shares import shares
from windlass.billing.usage import Usage
from windlass.model.service import GIB, MIB, Mode

SECOND = 1_000_000_000  # ns
MINUTE = 60 * SECOND
MILLION = 1_000_000
BOOKS = load_books()


def _usage(amounts: Amounts, mode: Mode, milli_cpu: int, memory: int) -> Usage:
    instance = used(mode, amounts, milli_cpu, memory)
    return Usage(since=0, until=3600, instances=(instance,))


def _lambda(book: str | Book, memory: int, **amounts: int) -> Bill:
    """Price an environment whose memory (MB) is more than its CPU asks for."""
    usage = _usage(Amounts(**amounts), Mode.LAMBDA, 10, memory * MIB)
    priced = BOOKS[book] if isinstance(book, str) else book
    return bill(usage, priced)


def _shared(book: str, milli_cpu: int, memory: int, **amounts: int) -> Bill:
    return bill(_usage(Amounts(**amounts), Mode.CLOUDRUN, milli_cpu, memory), BOOKS[book])


def _amounts(found: Bill) -> dict[str, Decimal]:
    return {line.item: line.amount for line in found.lines}


def test_lambda_counts_a_gigabyte_as_1024_megabytes() -> None:
    found = _lambda("lambda-x86", 512, invocation_milliseconds=100_000 * 350, requests=100_000)
    assert found.lines[0].quantity == 17_500


def test_lambdas_start_is_billed_with_its_duration() -> None:
    """The router adds the start to the first invocation: 250.3 ms and 20.1 ms are 271 ms."""
    found = _lambda("lambda-x86", 1024, invocation_milliseconds=271, requests=1)
    assert _amounts(found)["duration"] == Decimal("0.271") * Decimal("0.0000166667")


def test_provisioned_concurrency_is_billed_for_its_time_and_its_duration() -> None:
    """An environment of 1 GB for an hour that serves 1 000 invocations of 100 ms."""
    used = {"held": 60 * MINUTE, "held_milliseconds": 100_000}
    found = _lambda("lambda-arm64", 1024, invocation_milliseconds=100_000, requests=1000, **used)
    assert _amounts(found) == {
        "provisioned concurrency": 3600 * Decimal("0.0000033333"),
        "duration, provisioned": 100 * Decimal("0.0000077777"),
        "requests": Decimal("0.0002"),
    }
    assert found.unconfirmed == ()
    on_x86 = _lambda("lambda-x86", 1024, invocation_milliseconds=100_000, requests=1000, **used)
    assert "the price of provisioned" in on_x86.unconfirmed


def test_provisioned_concurrency_is_rounded_up_to_five_minutes() -> None:
    used = {"held": 7 * MINUTE, "rounding_5min": 3 * MINUTE}
    found = _lambda("lambda-arm64", 1024, **used)
    assert found.total == 600 * Decimal("0.0000033333")
    assert found.rounding == 180 * Decimal("0.0000033333")


def test_the_free_duration_is_not_for_provisioned_environments() -> None:
    amounts = Amounts(invocation_milliseconds=100_000, held_milliseconds=60_000)
    usage = _usage(amounts, Mode.LAMBDA, 10, GIB)
    assert bill(usage, BOOKS["lambda-arm64"], free_tier=True).total == 60 * Decimal("0.0000077777")


def test_shared_instances_are_no_provisioned_environments() -> None:
    amounts = Amounts(held=MINUTE, held_milliseconds=1000, invocation_milliseconds=1000)
    usage = _usage(amounts, Mode.CLOUDRUN, 10, GIB)
    assert bill(usage, BOOKS["lambda-arm64"]).total == Decimal("0.0000133334")


def test_the_shares_of_provisioned_concurrency_add_up_to_its_bill() -> None:
    amounts = Amounts(held=7 * MINUTE, rounding_5min=3 * MINUTE, invocation_milliseconds=5)
    usage = _usage(amounts, Mode.LAMBDA, 10, GIB)
    found = shares([usage], usage, BOOKS["lambda-x86"])
    assert sum(share.amount for share in found) == bill(usage, BOOKS["lambda-x86"]).total
    assert all(sum(term.length for term in s.terms) == s.billed for s in found if s.terms)


def test_ephemeral_storage_over_512_megabytes_is_billed_while_invocations_run() -> None:
    """A million invocations of 100 ms with 10 240 MB of disk: 9.5 GB over for 100 000 s."""
    book = BOOKS["lambda-x86"]
    assert isinstance(book.billing, Invocations)
    larger = msgspec.structs.replace(book.billing, storage=10_240)
    mine = msgspec.structs.replace(book, billing=larger)
    used = {"invocation_milliseconds": 100 * MILLION, "requests": MILLION}
    assert _amounts(_lambda(mine, 128, **used))["ephemeral storage"] == Decimal("0.029355")
    assert "ephemeral storage" not in _amounts(_lambda(book, 128, **used))


def test_less_storage_than_is_included_is_a_fault() -> None:
    text = """
name: mine
title: Mine
mode: lambda
date: 2026-11-23
sources: [my invoice]
billing: {basis: invocations, memory_minimum: 128, memory_maximum: 10240, memory_step: 1,
  memory_per_cpu: 1769, storage: 100}
prices: []
"""
    with pytest.raises(BookFault, match=r"billing\.storage: 100 must be 512"):
        read_book(text, "mine.yaml")


def test_managed_instances_are_billed_by_vcpus_or_by_memory_whichever_is_more() -> None:
    hour = 3600 * SECOND
    vcpu = Decimal("0.0408") * Decimal("1.15")
    assert _shared("lambda-managed-instances", 1000, 4 * GIB, idle=hour).total == vcpu
    assert _shared("lambda-managed-instances", 1000, GIB, idle=hour).total == vcpu
    assert _shared("lambda-managed-instances", 1000, 8 * GIB, idle=hour).total == 2 * vcpu
    requests = _shared("lambda-managed-instances", 1000, GIB, requests=MILLION)
    assert requests.total == Decimal("0.20")


def test_flex_bills_executions_on_demand() -> None:
    found = _shared("azure-functions-flex", 1000, 2 * GIB, startup=SECOND, busy=10 * SECOND)
    assert _amounts(found) == {"memory": 20 * Decimal("0.000026")}


def test_flex_bills_always_ready_instances_a_baseline_and_their_executions() -> None:
    """An hour ready, 600 s of it busy, with 2 GB."""
    found = _shared(
        "azure-functions-flex",
        1000,
        2 * GIB,
        busy=600 * SECOND,
        idle=3000 * SECOND,
        warm=3000 * SECOND,
        held=3600 * SECOND,
    )
    baseline = 7200 * Decimal("0.000004")
    assert found.total == baseline + 1200 * Decimal("0.000016")
    assert "the price of memory held" in found.unconfirmed


def test_container_apps_idle_rate_is_only_for_replicas_that_the_minimum_holds() -> None:
    """A replica of 0.5 vCPU and 1 GiB, idle for an hour."""
    held = _shared("azure-container-apps", 500, GIB, idle=3600 * SECOND, warm=3600 * SECOND)
    memory = 3600 * Decimal("0.000003")
    assert held.total == 1800 * Decimal("0.000003") + memory
    other = _shared("azure-container-apps", 500, GIB, idle=3600 * SECOND)
    assert other.total == 1800 * Decimal("0.000024") + memory


def test_a_second_tier_cloud_run_minute_costs_more() -> None:
    busy = {"busy": 60 * SECOND, "requests": 1000}
    found = _shared("cloud-run-request-tier2", 2000, GIB, **busy)
    cpu, memory = 120 * Decimal("0.0000336"), 60 * Decimal("0.0000035")
    assert found.total == cpu + memory + Decimal("0.0004")
    always = _shared("cloud-run-instance-tier2", 2000, GIB, **busy)
    assert always.total == 120 * Decimal("0.0000216") + 60 * Decimal("0.0000024")


def test_every_price_that_no_source_confirms_is_named_in_the_bill_that_uses_it() -> None:
    for book in BOOKS.values():
        mode = Mode.LAMBDA if isinstance(book.billing, Invocations) else Mode.CLOUDRUN
        everything = Amounts(**dict.fromkeys(Amounts.__struct_fields__, SECOND))
        amounts = msgspec.structs.replace(everything, warm=SECOND // 2, requests=1)
        amounts = msgspec.structs.replace(amounts, held_milliseconds=SECOND // 2)
        found = bill(_usage(amounts, mode, 1000, 5 * GIB), book)
        assert set(found.unconfirmed) == set(book.doubts()), book.name
