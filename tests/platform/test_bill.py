"""Bills: the providers' own arithmetic, and what the same requests cost in the other mode."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.platform.metered import used

from windlass.billing.bill import Bill, bill, money
from windlass.billing.book import Invocations, find, load_books, read_book
from windlass.billing.quantities import lambda_memory
from windlass.billing.rows import Amounts, RevisionAmounts
from windlass.billing.usage import InstanceUsage, RevisionUsage, Usage
from windlass.model.service import GIB, MIB, Mode

SECOND = 1_000_000_000  # ns
MONTH = 2_628_000  # seconds
BOOKS = load_books()


def _priced(book: str, *instances: InstanceUsage, free_tier: bool = False) -> Bill:
    found = find(BOOKS, book)
    assert found is not None
    usage = Usage(since=0, until=MONTH, instances=instances)
    return bill(usage, found, free_tier=free_tier)


def _lambda(milli_cpu: int, milliseconds: int) -> InstanceUsage:
    """A million requests on Lambda."""
    amounts = Amounts(requests=1_000_000, invocation_milliseconds=milliseconds * 1_000_000)
    return used(Mode.LAMBDA, amounts, milli_cpu)


def _shared(**amounts: int) -> InstanceUsage:
    return used(Mode.CLOUDRUN, Amounts(**amounts))


WARM_MONTH = _shared(idle=MONTH * SECOND, warm=MONTH * SECOND)


# The golden vectors: computed by hand from the prices, without a free tier.
@pytest.mark.parametrize(
    ("book", "instance", "total"),
    [
        pytest.param("lambda", _lambda(1000, 200), "5.95848", id="1769 MB, 200 ms"),
        pytest.param("lambda-arm64", _lambda(1000, 200), "4.80679", id="the same on arm64"),
        pytest.param("lambda", _lambda(100, 100), "1.03334", id="512 MB, 100 ms"),
        pytest.param(
            "cloudrun", _shared(busy=10_000 * SECOND, requests=10**6), "0.6525", id="shared"
        ),
        pytest.param(
            "cloudrun", _shared(busy=200_000 * SECOND, requests=10**6), "5.45", id="concurrency 1"
        ),
        pytest.param("cloudrun", WARM_MONTH, "9.855", id="an idle minimum for a month"),
        pytest.param("cloudrun-instance", WARM_MONTH, "49.932", id="instance-based for a month"),
        pytest.param("own-server", WARM_MONTH, "40", id="a server for a month"),
    ],
)
def test_golden_vector(book: str, instance: InstanceUsage, total: str) -> None:
    found = _priced(book, instance).total
    expected = Decimal(total)
    assert found.quantize(expected) == expected


def test_golden_gigabyte_seconds() -> None:
    assert _priced("lambda", _lambda(1000, 200)).lines[0].quantity == Decimal("345507.8125")
    assert _priced("lambda", _lambda(100, 100)).lines[0].quantity == 50_000


def test_golden_break_even_of_request_and_instance_based() -> None:
    busy = _priced("cloudrun", _shared(busy=MONTH * SECOND)).total
    whole = _priced("cloudrun-instance", _shared(busy=MONTH * SECOND)).total
    assert round(100 * whole / busy, 1) == Decimal("75.2")


def test_sharing_and_price_make_the_whole_gap_between_the_modes() -> None:
    shared = _priced("cloudrun", _shared(busy=10_000 * SECOND, requests=10**6)).total
    alone = _priced("lambda", _lambda(1000, 200)).total
    assert round(alone / shared, 1) == Decimal("9.1")


def test_idle_time_is_free_unless_the_minimum_holds_theused() -> None:
    assert _priced("cloudrun", _shared(idle=MONTH * SECOND)).total == 0


def test_start_and_shutdown_are_billed_as_busy_time_is() -> None:
    kinds = [_priced("cloudrun", _shared(**{kind: SECOND})) for kind in ("startup", "shutdown")]
    assert {found.total for found in kinds} == {_priced("cloudrun", _shared(busy=SECOND)).total}


def test_a_bill_says_what_rounding_costs() -> None:
    rounded = _priced("cloudrun", _shared(busy=SECOND, rounding_100ms=SECOND))
    assert (rounded.rounding * 2, rounded.rounding_is_most) == (rounded.total, False)
    whole = _priced("azure-container-apps", _shared(busy=SECOND // 2))
    assert whole.rounding * 2 == whole.total
    assert _priced("own-server", WARM_MONTH).rounding == 0


def test_what_rounding_invocations_costs_is_known_to_one_millisecond_each() -> None:
    amounts = Amounts(requests=10, invocation_milliseconds=40)
    rounded = _priced("lambda", used(Mode.LAMBDA, amounts))
    assert rounded.rounding_is_most
    assert rounded.rounding * 4 == rounded.lines[0].amount


def test_rounding_is_per_slice_or_perused() -> None:
    amounts = Amounts(busy=250_000_000, rounding_100ms=150_000_000)  # five slices of 50 ms
    usage = Usage(since=0, until=60, instances=(used(Mode.CLOUDRUN, amounts),))
    book = BOOKS["cloud-run-request-tier1"]
    seconds = {
        rounding: bill(usage, book, rounding=rounding).billed_instance_seconds
        for rounding in ("per_slice", "per_instance", "none")
    }
    assert seconds == {
        "per_slice": Decimal("0.4"),
        "per_instance": Decimal("0.3"),
        "none": Decimal("0.25"),
    }


def test_a_lambda_service_on_cloud_run_is_priced_as_if_shared() -> None:
    usage = Usage(
        since=0,
        until=60,
        instances=(_lambda(1000, 200),),
        revisions=(
            RevisionUsage(
                service="shop",
                revision="shop-00001",
                month="2026-11",
                mode=Mode.LAMBDA,
                milli_cpu=1000,
                memory=GIB // 2,
                counts=RevisionAmounts(packed=10_000 * SECOND),
            ),
        ),
    )
    found = bill(usage, BOOKS["cloud-run-request-tier1"])
    assert found.total == Decimal("0.6525")
    assert not found.actual
    assert any("as if instances had been shared" in said for said in found.assumptions)


def test_a_shared_service_on_lambda_is_priced_by_each_requests_duration() -> None:
    amounts = Amounts(busy=10_000 * SECOND, requests=10**6, invocation_milliseconds=200_000_000)
    found = _priced("lambda", used(Mode.CLOUDRUN, amounts))
    assert found.total == _priced("lambda", _lambda(1000, 200)).total
    assert found.billed_instance_seconds == 200_000
    assert not found.actual
    assert any("warm" in said for said in found.assumptions)
    assert any("1769 MB" in said for said in found.assumptions)


def test_volume_tiers_begin_anew_each_month() -> None:
    amounts = Amounts(invocation_milliseconds=7 * 10**12 * 1024 // 10_240)  # 7e9 GB-s at 10240 MB
    november, december = (
        used(Mode.LAMBDA, amounts, memory=10_240 * MIB, month=month)
        for month in ("2026-11", "2026-12")
    )
    one = _priced("lambda", november)
    assert [line.quantity for line in one.lines] == [6 * 10**9, 10**9]
    assert one.total == 6 * 10**9 * Decimal("0.0000166667") + 10**9 * Decimal("0.0000150000")
    assert _priced("lambda", november, december).total == 2 * one.total
    assert _priced("lambda", november, november).total < 2 * one.total


def test_each_month_has_its_own_free_tier() -> None:
    amounts = Amounts(busy=200_000 * SECOND, requests=3_000_000)
    months = [used(Mode.CLOUDRUN, amounts, month=month) for month in ("2026-11", "2026-12")]
    one = _priced("cloudrun", months[0], free_tier=True).total
    cpu, requests = Decimal("0.000024") * 20_000, Decimal("0.40")
    assert one == cpu + requests  # the memory is within its free 360 000 GiB-seconds
    assert _priced("cloudrun", *months, free_tier=True).total == 2 * one
    assert _priced("cloudrun", _shared(busy=SECOND), free_tier=True).total == 0


def test_tier_2_gets_its_free_tier_as_a_discount_at_tier_1_prices() -> None:
    usage = _shared(busy=200_000 * SECOND)
    plain = _priced("cloud-run-request-tier2", usage).total
    less = Decimal("0.000024") * 180_000 + Decimal("0.0000025") * 100_000
    assert _priced("cloud-run-request-tier2", usage, free_tier=True).total == plain - less


def test_container_apps_bill_idle_replicas_above_the_minimum_as_active() -> None:
    busy = _priced("azure-container-apps", _shared(busy=SECOND)).total
    assert _priced("azure-container-apps", _shared(idle=SECOND)).total == busy
    warm = _priced("azure-container-apps", _shared(idle=SECOND, warm=SECOND)).total
    assert warm == Decimal("0.000003") + Decimal("0.000003") / 2


def test_machines_are_billed_by_the_second_of_their_life() -> None:
    month = 2_592_000 * SECOND
    found = _priced("fly-machines", _shared(idle=month))
    assert {line.item: line.amount for line in found.lines} == {
        "CPU": 2,
        "memory": Decimal("1.25"),  # 256 MiB over what the CPU brings along
    }


def test_flex_bills_the_next_size_of_memory() -> None:
    amounts = Amounts(busy=SECOND)
    found = _priced("azure-functions-flex", used(Mode.CLOUDRUN, amounts, 1000, 600 * MIB))
    assert found.total == 2 * Decimal("0.000026")


@pytest.mark.parametrize(
    ("milli_cpu", "memory", "megabytes"),
    [
        (1000, 512 * MIB, 1769),
        (80, 64 * MIB, 142),
        (10, 16 * MIB, 128),
        (1000, 3 * GIB, 3072),
        (100, 512 * MIB + 1, 513),
        (8000, GIB, 10_240),
    ],
)
def test_lambdas_memory_gives_the_same_memory_and_cpu(
    milli_cpu: int, memory: int, megabytes: int
) -> None:
    rule = BOOKS["lambda-x86"].billing
    assert isinstance(rule, Invocations)
    assert lambda_memory(milli_cpu, memory, rule) == megabytes


def test_nothing_used_costs_nothing() -> None:
    found = _priced("cloudrun")
    assert found.total == 0
    assert found.lines == ()
    assert found.per_million_requests is None


@given(
    busy=st.integers(0, 10**18),
    memory=st.integers(1, 2**40),
    milli_cpu=st.integers(1, 64_000),
    requests=st.integers(0, 10**12),
)
def test_a_bill_is_exact_to_the_last_digit(
    busy: int, memory: int, milli_cpu: int, requests: int
) -> None:
    amounts = Amounts(busy=busy, requests=requests)
    found = _priced("cloudrun", used(Mode.CLOUDRUN, amounts, milli_cpu, memory))
    seconds = Fraction(busy, SECOND)
    expected = seconds * Fraction(milli_cpu, 1000) * Fraction("0.000024")
    expected += seconds * Fraction(memory, GIB) * Fraction("0.0000025")
    expected += requests * Fraction("0.4") / 1_000_000
    assert Fraction(found.total) == expected
    assert expected == sum(Fraction(line.amount) for line in found.lines)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.0000"),
        ("5.958475", "$5.9585"),
        ("1234567.5", "$1,234,567.5000"),
        ("0.00001234567", "$0.00001235"),
        ("0.0099996", "$0.010000"),
        ("-0.5", "-$0.5000"),
    ],
)
def test_money_is_shown_in_one_way(amount: str, shown: str) -> None:
    assert money(Decimal(amount)) == shown
    assert money(Decimal(amount), "EUR") == shown.replace("$", "EUR ")


def test_a_book_of_the_users_is_priced_as_any_other() -> None:
    text = """
name: mine
title: Mine
mode: cloudrun
currency: EUR
date: 2026-11-23
sources: [my invoice]
billing: {basis: nothing}
prices:
  - {measure: period, price: 1, per: 60}
"""
    found = bill(Usage(since=0, until=600), read_book(text, "mine.yaml"))
    assert found.total == 10
    assert found.currency == "EUR"
