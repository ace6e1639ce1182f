"""Quantities and durations are read exactly, and whatever is not one is named."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.quantity import (
    BadQuantity,
    read_cpu,
    read_duration,
    read_memory,
    write_cpu,
    write_memory,
)

SUFFIXES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}


@pytest.mark.parametrize(
    ("text", "milli_cpu"),
    [("1", 1000), ("0.5", 500), ("500m", 500), (".25", 250), ("2.", 2000), ("0.001", 1)],
)
def test_a_cpu_is_read_in_thousandths(text: str, milli_cpu: int) -> None:
    assert read_cpu(text) == milli_cpu


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512Mi", 536870912),
        ("1Gi", 1073741824),
        ("1G", 1000000000),
        ("0.5Gi", 536870912),
        ("128974848", 128974848),
        ("129e6", 129000000),
        ("1000m", 1),
    ],
)
def test_memory_is_read_in_bytes(text: str, size: int) -> None:
    assert read_memory(text) == size


@pytest.mark.parametrize("text", ["12Q", "", "Mi", "-1", "1 Gi", "1gi", "0.5", "1m", "1e", "٣"])
def test_what_is_no_memory_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(BadQuantity) as caught:
        read_memory(text)
    assert str(caught.value) == (
        f"{text!r} is not allowed; allowed: bytes such as 512Mi, 1Gi, 500M, 1G or 536870912"
    )


@pytest.mark.parametrize("text", ["0.0005", "1.5m", "one", "1Q", "NaN", "inf"])
def test_what_is_no_cpu_is_refused(text: str) -> None:
    with pytest.raises(BadQuantity):
        read_cpu(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h", 3600), ("1m30s", 90), ("500ms", 0.5), ("45", 45), ("0", 0)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 m", "-5s", "5d", "1h-", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadQuantity):
        read_duration(text)


@given(st.integers(0, 10**12), st.sampled_from(sorted(SUFFIXES)))
def test_a_whole_number_times_its_suffix_is_exact(number: int, suffix: str) -> None:
    assert read_memory(f"{number}{suffix}") == number * SUFFIXES[suffix]


@given(st.decimals(0, 10**6, places=3))
def test_a_decimal_cpu_is_exact(number: object) -> None:
    assert read_cpu(str(number)) == Fraction(str(number)) * 1000


@given(st.integers(0, 10**15))
def test_what_is_written_reads_back(number: int) -> None:
    assert read_memory(write_memory(number)) == number
    assert read_cpu(write_cpu(number)) == number


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_cpu, read_memory, read_duration):
        with contextlib.suppress(BadQuantity):
            assert read(text) >= 0
