"""Shares: a bill's parts, whose sum is its total, whatever the book and the cut."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.billing.bill import PRECISION, bill
from windlass.billing.book import Rounding, load_books
from windlass.billing.rows import Amounts, RevisionAmounts
from windlass.billing.shares import Origin, Share, shares
from windlass.billing.usage import InstanceUsage, RevisionUsage, Usage
from windlass.model.service import MIB, Mode

SECOND = 1_000_000_000
BOOKS = load_books()
LENGTH = st.integers(0, 10**5 * SECOND)


def instance(mode: Mode, amounts: Amounts, name: str = "a") -> InstanceUsage:
    return InstanceUsage(
        service="shop",
        revision=f"shop-{mode}",
        instance=name,
        month="2026-11",
        mode=mode,
        milli_cpu=1500,
        memory=700 * MIB,
        labels=(("team", "blue"),),
        amounts=amounts,
    )


def revision(packed: int) -> RevisionUsage:
    return RevisionUsage(
        service="shop",
        revision="shop-lambda",
        month="2026-11",
        mode=Mode.LAMBDA,
        milli_cpu=1500,
        memory=700 * MIB,
        counts=RevisionAmounts(packed, 1),
    )


@st.composite
def amounts(draw: st.DrawFn) -> Amounts:
    busy, idle = draw(LENGTH), draw(LENGTH)
    warm = draw(st.integers(0, idle))
    milliseconds = draw(st.integers(0, 10**6))
    requests = draw(st.integers(0, 10**7))
    return Amounts(
        startup=draw(LENGTH),
        busy=busy,
        idle=idle,
        shutdown=draw(LENGTH),
        warm=warm,
        rounding_100ms=draw(st.integers(0, 10**8)),
        rounding_1s=draw(st.integers(0, SECOND)),
        requests=requests,
        invocation_milliseconds=requests + milliseconds,
        held=warm + draw(st.integers(0, busy)),
        rounding_5min=draw(st.integers(0, 300 * SECOND)),
        held_milliseconds=draw(st.integers(0, milliseconds)),
    )


def whole_of(parts: list[Usage]) -> Usage:
    """What the ledger says of the same rows when it is asked for all of them at once."""
    sums: dict[tuple[Mode, str], Amounts] = {}
    packed = 0
    for part in parts:
        for used in part.instances:
            place = (used.mode, used.instance)
            sums[place] = sums.get(place, Amounts()) + used.amounts
        packed += sum(served.counts.packed for served in part.revisions)
    return Usage(
        since=parts[0].since,
        until=parts[-1].until,
        instances=tuple(instance(mode, added, name) for (mode, name), added in sums.items()),
        revisions=(revision(packed),),
    )


def total(found: list[Share]) -> Decimal:
    with localcontext(prec=PRECISION):
        return sum((share.amount for share in found), Decimal(0))


@pytest.mark.slow
@settings(deadline=None)
@given(
    cut=st.lists(
        st.dictionaries(
            st.tuples(st.sampled_from(list(Mode)), st.sampled_from("ab")), amounts(), max_size=4
        ),
        min_size=1,
        max_size=4,
    ),
    packed=LENGTH,
    name=st.sampled_from(sorted(BOOKS)),
    free_tier=st.booleans(),
    rounding=st.sampled_from([None, "none", "per_instance"]),
)
def test_shares_add_up_to_the_bill(
    cut: list[dict[tuple[Mode, str], Amounts]],
    packed: int,
    name: str,
    free_tier: bool,
    rounding: Rounding | None,
) -> None:
    parts = [
        Usage(
            since=60 * at,
            until=60 * at + 60,
            instances=tuple(instance(mode, did, who) for (mode, who), did in used.items()),
            revisions=(revision(packed),),
        )
        for at, used in enumerate(cut)
    ]
    whole = whole_of(parts)
    written = bill(whole, BOOKS[name], free_tier=free_tier, rounding=rounding)
    found = shares(parts, whole, BOOKS[name], free_tier=free_tier, rounding=rounding)
    assert abs(total(found) - written.total) < Decimal("1e-40")
    assert sum(share.requests for share in found) == written.requests
    billed = sum(share.billed for share in found)
    assert Decimal(billed) / SECOND == written.billed_instance_seconds


def test_a_share_says_of_what_it_is_made() -> None:
    did = Amounts(startup=SECOND, busy=2 * SECOND, idle=SECOND, rounding_100ms=5, requests=3)
    used = Usage(since=0, until=60, instances=(instance(Mode.CLOUDRUN, did),))
    [share] = shares([used], used, BOOKS["cloud-run-request-tier1"])
    assert [(term.kind, term.length) for term in share.terms] == [
        ("startup", SECOND),
        ("busy", 2 * SECOND),
        ("rounding", 5),
    ]
    assert [(charge.measure, charge.quantity) for charge in share.charges] == [
        ("cpu_active", Decimal("4.5000000075")),
        ("memory_active", Decimal("2.05078125341796875")),
        ("requests", 3),
    ]


@pytest.mark.parametrize(
    ("book", "free_tier", "origin"),
    [
        ("azure-container-apps", False, Origin.ROUNDING),
        ("own-server", False, Origin.PERIOD),
        ("lambda-x86", True, Origin.TIERS),
    ],
)
def test_what_is_of_no_stretch_is_a_share_of_its_own(
    book: str, free_tier: bool, origin: Origin
) -> None:
    did = Amounts(busy=SECOND // 3, requests=3, invocation_milliseconds=400)
    used = Usage(since=0, until=60, instances=(instance(Mode.CLOUDRUN, did),))
    found = shares([used], used, BOOKS[book], free_tier=free_tier)
    assert {share.origin for share in found} == {Origin.USE, origin}
