"""Minutes: every nanosecond is in one, through any step of the wall clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.billing.minutes import MINUTE, SECOND, WallClock

YEAR_2026 = 1_767_225_600 * SECOND


def _split(clock: WallClock, begin: int, end: int) -> list[tuple[int, int]]:
    """Return (minute, nanoseconds) for each part of [begin, end)."""
    parts = []
    while begin < end:
        minute, last = clock.part(begin)
        parts.append((minute, min(last, end) - begin))
        begin = min(last, end)
    return parts


@given(
    begin=st.integers(0, 10 * MINUTE),
    length=st.integers(0, 10 * MINUTE),
    steps=st.lists(
        st.tuples(st.integers(0, 20 * MINUTE), st.integers(-MINUTE, MINUTE)), max_size=4
    ),
)
def test_the_parts_of_a_stretch_add_up_to_it(
    begin: int, length: int, steps: list[tuple[int, int]]
) -> None:
    clock = WallClock([(0, YEAR_2026)])
    for now, change in sorted(steps):
        clock.observe(now, YEAR_2026 + change)
    parts = _split(clock, begin, begin + length)
    assert sum(part for _, part in parts) == length
    at = begin
    for minute, part in parts:
        assert clock.minute(at) == clock.minute(at + part - 1) == minute
        at += part


def test_a_stretch_is_cut_where_the_utc_minute_ends() -> None:
    clock = WallClock([(0, YEAR_2026 - 10 * SECOND)])
    first = YEAR_2026 // MINUTE - 1
    assert _split(clock, 0, 75 * SECOND) == [
        (first, 10 * SECOND),
        (first + 1, 60 * SECOND),
        (first + 2, 5 * SECOND),
    ]


def test_what_is_known_of_the_past_stays_when_the_clock_is_stepped() -> None:
    clock = WallClock([(0, YEAR_2026)])
    before = clock.minute(30 * SECOND)
    clock.observe(40 * SECOND, YEAR_2026 + 3600 * SECOND)
    assert clock.minute(30 * SECOND) == before
    assert clock.minute(40 * SECOND) == before + 60


def test_slew_is_no_step() -> None:
    clock = WallClock([(0, YEAR_2026)])
    clock.observe(SECOND, YEAR_2026 + SECOND // 10)
    assert clock.steps == [(0, YEAR_2026)]


def test_steps_that_nobody_needs_are_forgotten() -> None:
    clock = WallClock([(0, 0), (10 * SECOND, 3 * SECOND), (20 * SECOND, 9 * SECOND)])
    clock.forget(15 * SECOND)
    assert clock.steps == [(10 * SECOND, 3 * SECOND), (20 * SECOND, 9 * SECOND)]
