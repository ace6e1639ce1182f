"""Routing by Host, tag and percent."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.router.errors import Problem
from windlass.router.link import Routes, ServiceRoute
from windlass.router.link import Split as Part
from windlass.router.routes import Table


def make_table(*parts: Part, default: str = "", domains: tuple[str, ...] = ("localhost",)) -> Table:
    service = ServiceRoute(name="hello", splits=parts)
    return Table(
        Routes(services=(service,), revisions=(), domains=domains, default_service=default)
    )


ONE = Part(revision="hello-00001", percent=100)


def test_a_service_is_found_under_each_domain() -> None:
    table = make_table(ONE, domains=("localhost", "example.org"))
    assert table.revision(b"hello.localhost") == "hello-00001"
    assert table.revision(b"hello.example.org") == "hello-00001"


def test_an_unknown_host_is_no_service() -> None:
    with pytest.raises(Problem) as problem:
        make_table(ONE).revision(b"other.localhost")
    assert problem.value.status == 404
    assert "other.localhost" in problem.value.detail


def test_an_unknown_host_goes_to_the_default_service_if_there_is_one() -> None:
    assert make_table(ONE, default="hello").revision(b"127.0.0.1") == "hello-00001"


def test_a_tag_reaches_its_revision_even_without_traffic() -> None:
    table = make_table(ONE, Part(revision="hello-00002", percent=0, tag="green"))
    assert table.revision(b"green---hello.localhost") == "hello-00002"
    assert {table.revision(b"hello.localhost") for _ in range(100)} == {"hello-00001"}


def test_a_service_without_traffic_says_so() -> None:
    with pytest.raises(Problem) as problem:
        make_table(Part(revision="hello-00001", percent=0)).revision(b"hello.localhost")
    assert problem.value.status == 503


@given(st.lists(st.integers(1, 99), min_size=1, max_size=10, unique=True))
def test_of_each_hundred_requests_every_revision_gets_exactly_its_percent(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), 100]
    percents = [end - begin for begin, end in pairwise(bounds)]
    table = make_table(*(Part(revision=f"r{n}", percent=p) for n, p in enumerate(percents)))
    for _ in range(3):
        seen = Counter(table.revision(b"hello.localhost") for _ in range(100))
        assert seen == {f"r{n}": percent for n, percent in enumerate(percents)}


def test_a_small_share_is_spread_out() -> None:
    table = make_table(Part(revision="stable", percent=90), Part(revision="canary", percent=10))
    seen = [table.revision(b"hello.localhost") == "canary" for _ in range(100)]
    assert all(sum(seen[start : start + 25]) in (2, 3) for start in range(0, 100, 25))
