"""Tests of what charts are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.api.schema import DecisionView, SliceView, TimelineView
from windlass.deploy.dashboard.figures import MOST_SLICES, drawable, joined, lives, whole
from windlass.deploy.dashboard.pulse import Point


def _slice(
    kind: Literal["startup", "busy", "idle", "shutdown"], begin: float, end: float
) -> SliceView:
    return SliceView(kind=kind, begin=begin, end=end, rate="free" if kind == "idle" else "active")


def _life(lengths: list[float]) -> tuple[SliceView, ...]:
    """Return startup, then busy and idle by turns."""
    cuts, at = [_slice("startup", 0.0, 1.0)], 1.0
    for number, length in enumerate(lengths):
        cuts.append(_slice("idle" if number % 2 else "busy", at, at + length))
        at += length
    return tuple(cuts)


def test_a_pause_too_short_to_see_joins_what_is_busy_around_it() -> None:
    found = joined(_life([2.0, 0.1, 3.0, 5.0, 1.0]), 0.5)
    assert [(cut.kind, cut.begin, round(cut.end, 3)) for cut in found] == [
        ("startup", 0.0, 1.0),
        ("busy", 1.0, 6.1),
        ("idle", 6.1, 11.1),
        ("busy", 11.1, 12.1),
    ]


def test_a_short_pause_that_is_not_between_busy_slices_stays() -> None:
    life = (_slice("startup", 0, 1), _slice("idle", 1, 1.1), _slice("busy", 1.1, 2))
    assert joined(life, 0.5) == list(life)
    assert joined((*life, _slice("idle", 2, 2.1)), 0.5)[-1] == _slice("idle", 2, 2.1)


@given(st.lists(st.floats(0.01, 50), max_size=40), st.floats(0, 20))
def test_what_is_drawn_tiles_the_life_and_hides_no_busy_time(
    lengths: list[float], shortest: float
) -> None:
    life = _life(lengths)
    found = joined(life, shortest)
    assert found[0].begin == life[0].begin
    assert found[-1].end == life[-1].end
    assert all(a.end == b.begin for a, b in pairwise(found))
    drawn = sum(cut.end - cut.begin for cut in found if cut.kind == "busy")
    assert drawn >= sum(cut.end - cut.begin for cut in life if cut.kind == "busy") - 1e-6


def test_however_many_slices_there_are_no_more_are_drawn_than_browsers_can_bear() -> None:
    timelines = [
        TimelineView(instance=f"a-00001-{n}", revision="a-00001", slices=_life([0.4, 0.6] * 600))
        for n in range(20)
    ]
    found = drawable(timelines, 0.0, 700.0)
    assert sum(map(len, found.values())) <= MOST_SLICES
    assert len(found) == 20


def test_what_is_not_billed_is_grey_and_every_kind_has_a_width_of_its_own() -> None:
    timeline = TimelineView(instance="a-00001-x", revision="a-00001", slices=_life([5.0, 5.0]))
    figure = lives([timeline], [], [], 0.0, 20.0)
    lines = {trace["name"]: trace["line"] for trace in figure["data"][:3]}
    assert lines["idle, not billed"]["color"] == "--free"
    assert lines["busy, billed"]["color"] == "--busy"
    assert len({line["width"] for line in lines.values()}) == 3


def test_decisions_and_lives_share_one_time_axis() -> None:
    decision = DecisionView(time=4.0, revision="a-00001", desired=2, reason="9 wait")
    point = Point(5.0, 1, 0, 3, 0)
    figure = lives([], [decision], [point], 0.0, 10.0)
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert traces["wanted"]["x"] == [4000.0, 10_000.0]
    assert "9 wait" in traces["wanted"]["text"][0]
    assert traces["in flight"]["y"] == [3, 3]
    assert figure["layout"]["xaxis"]["range"] == [0.0, 10_000.0]


@pytest.mark.parametrize(("values", "step"), [([], 1), ([0, 1], 1), ([5], 1), ([6], None)])
def test_a_few_instances_are_counted_in_whole_steps(values: list[int], step: int | None) -> None:
    assert whole(values).get("dtick") == step


def test_a_short_rest_between_two_busy_times_is_left_out_and_a_long_one_is_drawn() -> None:
    def life(rest: float) -> list[SliceView]:
        awake = 5.5 + rest
        return [
            SliceView(kind="busy", begin=0.0, end=5.0, rate="free"),
            SliceView(kind="idle", begin=5.0, end=5.5, rate="free"),
            SliceView(kind="frozen", begin=5.5, end=awake, rate="free"),
            SliceView(kind="busy", begin=awake, end=20.0, rate="free"),
        ]

    assert [cut.kind for cut in joined(life(0.2), 1.0)] == ["busy"]
    assert [cut.kind for cut in joined(life(4.0), 1.0)] == ["busy", "idle", "frozen", "busy"]
    timeline = TimelineView(instance="a-00001-x", revision="a-00001", slices=tuple(life(4.0)))
    figure = lives([timeline], [], [], 0.0, 20.0)
    dashes = {trace["name"]: trace["line"].get("dash") for trace in figure["data"][:3]}
    assert dashes["frozen, not billed"] == "dot"
    assert dashes["idle, not billed"] == "solid"
