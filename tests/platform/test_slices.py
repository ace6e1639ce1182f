"""Slices: they tile a life, whatever the edges."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from windlass.billing.slices import Kind, Life, Slice, slices, union

moments = st.integers(0, 60)
maybe = st.none() | moments
stretches = st.lists(st.tuples(moments, moments), max_size=8)
lives = st.builds(Life, started=moments, ready=maybe, stopping=maybe, ended=maybe)


@given(life=lives, busy=stretches, until=moments)
def test_slices_tile_the_life_exactly(life: Life, busy: list[tuple[int, int]], until: int) -> None:
    cuts = slices(life, busy, until)
    end = until if life.ended is None else min(life.ended, until)
    if end <= life.started:
        assert cuts == []
        return
    assert cuts[0].begin == life.started
    assert cuts[-1].end == end
    assert all(cut.begin < cut.end for cut in cuts)
    assert all(one.end == next_.begin for one, next_ in pairwise(cuts))


@given(life=lives, busy=stretches, until=moments)
def test_each_moment_is_of_the_kind_that_the_edges_say(
    life: Life, busy: list[tuple[int, int]], until: int
) -> None:
    for cut in slices(life, busy, until):
        for moment in range(cut.begin, cut.end):
            assert cut.kind is _kind_at(life, busy, moment)


def _kind_at(life: Life, busy: list[tuple[int, int]], moment: int) -> Kind:
    if life.ready is None or moment < life.ready:
        return Kind.STARTUP
    if life.stopping is not None and moment >= life.stopping:
        return Kind.SHUTDOWN
    return Kind.BUSY if any(begin <= moment < end for begin, end in busy) else Kind.IDLE


def test_a_request_under_way_at_sigterm_becomes_part_of_the_shutdown() -> None:
    life = Life(started=0, ready=10, stopping=30, ended=40)
    assert slices(life, [(20, 35)], 100) == [
        Slice(Kind.STARTUP, 0, 10),
        Slice(Kind.IDLE, 10, 20),
        Slice(Kind.BUSY, 20, 30),
        Slice(Kind.SHUTDOWN, 30, 40),
    ]


def test_an_instance_that_was_never_ready_starts_up_to_its_end() -> None:
    life = Life(started=0, stopping=5, ended=9)
    assert slices(life, [(2, 4)], 100) == [Slice(Kind.STARTUP, 0, 9)]


def test_stretches_that_touch_or_overlap_are_one() -> None:
    assert union([(5, 7), (0, 2), (2, 3), (6, 9)], 1, 8) == [(1, 3), (5, 8)]
