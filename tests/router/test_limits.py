"""The limits of a head, to the byte, whole and in the making."""

from __future__ import annotations

import pytest

from windlass.router.errors import Problem
from windlass.router.limits import MAX_LINE, MAX_SECTION, check_partial_head, check_sizes


def status(head: bytes) -> int:
    try:
        check_partial_head(bytearray(head), 0)
    except Problem as problem:
        return problem.status
    return 0


def test_a_head_of_just_the_limits_is_taken() -> None:
    check_sizes(MAX_LINE, MAX_SECTION)
    assert status(b"a" * MAX_LINE) == 0
    assert status(b"a" * MAX_LINE + b"\r\nb") == 0


@pytest.mark.parametrize(
    ("line", "section", "expected"),
    [(MAX_LINE + 1, 0, 414), (0, MAX_SECTION + 1, 431), (MAX_LINE + 1, MAX_SECTION + 1, 414)],
)
def test_a_byte_more_is_not(line: int, section: int, expected: int) -> None:
    with pytest.raises(Problem) as problem:
        check_sizes(line, section)
    assert problem.value.status == expected


def test_a_head_in_the_making_is_refused_as_soon_as_it_cannot_be_whole() -> None:
    assert status(b"a" * (MAX_LINE + 1)) == 414
    assert status(b"a\r\n" + b"b" * MAX_SECTION) == 431
    assert status(b"a\nb") == 400
    assert status(b"a\r\nb\r") == 0
