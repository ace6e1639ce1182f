"""Price books: data with a source, and errors that name the place and the value."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from windlass.billing.book import BookFault, Measure, find, load_books, read_book
from windlass.model.service import Mode

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
name: mine
title: My own prices
aliases: [me]
mode: cloudrun
date: 2026-11-23
sources: [my invoice]
billing:
  basis: instance_time
  rates: {startup: active, busy: active, shutdown: active, idle: free, warm: idle}
  granularity: 100
  rounding: per_slice
prices:
  - {measure: cpu_active, price: 0.000024}
  - {measure: requests, price: 0.40, per: 1000000}
"""


def test_prices_are_exact_decimals() -> None:
    assert read_book(GOOD, "mine.yaml").prices[0].price == Decimal("0.000024")


def test_the_books_that_come_along_say_where_their_prices_are_from() -> None:
    books = load_books()
    assert len(books) == 11
    assert all(book.sources for book in books.values())
    assert {book.currency for book in books.values()} == {"USD"}


def test_a_book_is_found_by_its_name_or_alias() -> None:
    books = load_books()
    assert find(books, "cloudrun") is books["cloud-run-request-tier1"]
    assert find(books, "lambda") is books["lambda-x86"]
    assert find(books, "lambda-arm64") is books["lambda-arm64"]
    assert find(books, "nobody") is None


def test_what_no_source_confirms_is_marked() -> None:
    books = load_books()
    assert "the price of cpu idle" in books["cloud-run-request-tier2"].doubts()
    provisioned = ["the price of provisioned", "the price of provisioned duration"]
    assert books["lambda-x86"].doubts() == provisioned
    assert books["lambda-arm64"].doubts() == []


def test_only_doubts_about_what_is_used_are_asked_for() -> None:
    assert load_books()["lambda-x86"].doubts({Measure.DURATION}) == []


def test_a_user_adds_a_book_by_adding_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no book")
    books = load_books(tmp_path)
    assert len(books) == 12
    assert (books["mine"].mode, find(books, "me")) == (Mode.CLOUDRUN, books["mine"])


def test_a_users_book_takes_the_place_of_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("name: mine", "name: lambda-x86"))
    assert load_books(tmp_path)["lambda-x86"].title == "My own prices"


def test_two_books_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    with pytest.raises(BookFault, match=r"b\.yaml: name: 'mine' is also a name in a\.yaml"):
        load_books(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("price: 0.40", "price: cheap", r"prices\[1\]\.price: .*'cheap'"),
        ("price: 0.40", "price: -1", r"prices\[1\]\.price: -1 must be 0 or more"),
        ("price: 0.40", "price: NaN", r"prices\[1\]\.price: NaN must be 0 or more"),
        ("price: 0.40, ", "", r"prices\[1\]\.price: give either a price or tiers"),
        ("per: 1000000", "per: 0", r"prices\[1\]\.per: 0 must be more than 0"),
        ("price: 0.40", "tiers: [{price: 1, up_to: 5}]", r"prices\[1\]\.tiers: up_to must rise"),
        ("measure: requests", "measure: hugs", r"prices\[1\]\.measure: .*'hugs'"),
        ("mode: cloudrun", "mode: fast", r"mode: .*'fast'"),
        ("date: 2026-11-23", "date: yesterday", r"date: .*'yesterday'"),
        ("sources: [my invoice]", "sources: []", r"sources: .*at least one"),
        ("title:", "titel:", r"unknown field `titel`"),
        ("name: mine", "name: My Book", r"name: 'My Book' must be lower-case"),
        ("basis: instance_time", "basis: vibes", r"billing.basis: .*'vibes'"),
        ("idle: free", "idle: active", r"billing\.rounding: 'per_slice' needs"),
        ("granularity: 100", "granularity: 250", r"billing\.rounding: 'per_slice' needs"),
        ("granularity: 100", "granularity: 0", r"billing\.granularity: 0 must be at least 1"),
        ("aliases: [me]", "aliases: [me", r"this is not YAML"),
    ],
)
def test_a_fault_is_told_with_file_place_and_value(old: str, new: str, expected: str) -> None:
    with pytest.raises(BookFault, match=rf"^mine\.yaml: .*{expected}"):
        read_book(GOOD.replace(old, new), "mine.yaml")
