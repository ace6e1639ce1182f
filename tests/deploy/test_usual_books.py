"""Which book a service is said to be charged by: its mode's, and whether its CPU is throttled."""

from __future__ import annotations

import pytest

from windlass.billing.book import load_books
from windlass.billing.rows import Amounts
from windlass.billing.slices import Kind
from windlass.billing.usage import InstanceUsage, Usage
from windlass.deploy.bill_views import bill_view, in_order
from windlass.deploy.cli.bill_table import pair
from windlass.deploy.cost_views import cost_views
from windlass.deploy.live_views import rates_of
from windlass.model.service import MIB, Container, Limits, Mode, Revision, Template

BOOKS = load_books()
SECOND = 1_000_000_000  # ns


def usage(mode: Mode) -> Usage:
    return Usage(
        since=0,
        until=60,
        instances=(
            InstanceUsage(
                service="shop",
                revision="shop-00001",
                instance="a",
                month="2026-11",
                mode=mode,
                milli_cpu=1000,
                memory=512 * MIB,
                amounts=Amounts(busy=SECOND, idle=9 * SECOND, requests=1),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("mode", "throttled", "charged", "other"),
    [
        (Mode.CLOUDRUN, True, "cloud-run-request-tier1", "lambda-x86"),
        (Mode.CLOUDRUN, False, "cloud-run-instance-tier1", "lambda-x86"),
        (Mode.LAMBDA, True, "lambda-x86", "cloud-run-request-tier1"),
    ],
)
def test_a_bill_begins_with_the_book_that_is_charged(
    mode: Mode, throttled: bool, charged: str, other: str
) -> None:
    view = bill_view(usage(mode), in_order(BOOKS, throttled=throttled), "shop")
    assert [book.book for book in pair(view.books)] == [charged, other]


def test_a_service_whose_cpu_is_never_throttled_costs_its_whole_time() -> None:
    [throttled] = cost_views(usage(Mode.CLOUDRUN), BOOKS)
    [always] = cost_views(usage(Mode.CLOUDRUN), BOOKS, {"shop"})
    assert (throttled.book, always.book) == (
        "Google Cloud Run, request-based, tier 1",
        "Google Cloud Run, instance-based, tier 1",
    )
    assert always.total > throttled.total


@pytest.mark.parametrize(("throttled", "rate"), [(True, "free"), (False, "active")])
def test_an_idle_slice_is_shown_as_billed_where_it_is(throttled: bool, rate: str) -> None:
    template = Template(container=Container(image="shop"), limits=Limits(cpu_throttling=throttled))
    revision = Revision(name="r", service="shop", number=1, created=0.0, template=template)
    assert rates_of(revision, BOOKS)[Kind.IDLE] == rate
