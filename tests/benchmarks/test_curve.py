from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from windlass.bench.curve import curve, packed
from windlass.bench.schedule import packed_seconds
from windlass.billing.book import load_books
from windlass.model.service import MIB

SECOND = 1_000_000_000
BOOKS = load_books()
SHARED, ALONE = BOOKS["cloud-run-request-tier1"], BOOKS["lambda-x86"]

spans = st.lists(
    st.tuples(st.integers(0, 10 * SECOND), st.integers(1, 3 * SECOND)).map(
        lambda pair: (pair[0], pair[0] + pair[1])
    ),
    min_size=1,
    max_size=40,
)


def test_twenty_requests_at_once_cost_by_hand_what_the_curve_says() -> None:
    """Twenty of one second, each at the same time; 1 vCPU and 512 MiB."""
    points = curve([(0, SECOND)] * 20, 1000, 512 * MIB, SHARED, ALONE, (1, 10, 20, 1000))
    second = Decimal("0.000024") + Decimal("0.5") * Decimal("0.0000025")
    fees = 20 * Decimal("0.40") / 10**6
    assert [(p.concurrency, p.instances) for p in points] == [(1, 20), (10, 2), (20, 1), (1000, 1)]
    assert [p.shared for p in points] == [n * second + fees for n in (20, 2, 1, 1)]
    alone = 20 * (Decimal(1769) / 1024 * Decimal("0.0000166667") + Decimal("0.20") / 10**6)
    assert {p.alone for p in points} == {alone}


def test_a_stretch_is_rounded_up_to_a_tenth_of_a_second_for_each_instance() -> None:
    (point,) = curve([(0, SECOND // 100)], 1000, 0, SHARED, ALONE, (80,))
    assert point.shared == Decimal("0.1") * Decimal("0.000024") + Decimal("0.40") / 10**6


def test_a_request_goes_to_the_first_instance_that_has_room() -> None:
    assert packed([(0, 10), (1, 4), (2, 6), (4, 5), (5, 9)], 2) == [[(0, 10)], [(2, 6)]]


def test_without_a_request_there_is_no_curve() -> None:
    assert curve([], 1000, 0, SHARED, ALONE) == []


@given(spans, st.integers(1, 9))
def test_no_instance_has_more_than_its_concurrency_and_all_are_served(
    requests: list[tuple[int, int]], concurrency: int
) -> None:
    lives = packed(requests, concurrency)
    busy = sum(end - begin for life in lives for begin, end in life)
    assert busy <= sum(end - begin for begin, end in requests)
    for moment in {begin for begin, _ in requests}:
        in_flight = sum(begin <= moment < end for begin, end in requests)
        working = sum(any(b <= moment < e for b, e in life) for life in lives)
        assert working >= -(-in_flight // concurrency)


@given(spans)
def test_alone_in_an_instance_each_request_is_a_stretch_of_its_own(
    requests: list[tuple[int, int]],
) -> None:
    lives = packed(requests, 1)
    assert sum(e - b for life in lives for b, e in life) == sum(e - b for b, e in requests)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=60), st.integers(1, 7))
def test_it_is_never_below_the_fewest_instance_seconds_that_can_serve_them(
    moments: list[int], concurrency: int
) -> None:
    requests = [(moment, moment + 200) for moment in sorted(moments)]
    busy = sum(end - begin for life in packed(requests, concurrency) for begin, end in life)
    least = packed_seconds(sorted(moments), 200, concurrency)
    assert busy >= least - 1e-6
