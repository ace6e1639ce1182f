from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from windlass.billing.slices import Kind
from windlass.deploy.frozen import MOST, Frozen
from windlass.deploy.live_views import timeline_view
from windlass.model.instance import Instance, State

SECOND = 1_000_000_000


def shown(busy: list[tuple[int, int]], frozen: list[tuple[int, int]]) -> list[tuple[Any, int]]:
    """Return the slices of a life of a hundred seconds, ready from the first, as seconds."""
    life = Instance(
        id="a-00001-x",
        service="a",
        revision="a-00001",
        state=State.READY,
        started=0,
        ready=SECOND,
    )
    seconds = [(begin * SECOND, end * SECOND) for begin, end in busy]
    without = [(begin * SECOND, end * SECOND) for begin, end in frozen]
    view = timeline_view(life, seconds, 0, {Kind.BUSY: "active"}, without, 100 * SECOND)
    return [(cut.kind, round(cut.end - cut.begin)) for cut in view.slices]


def test_an_idle_instance_is_shown_frozen_while_it_is() -> None:
    assert shown([(10, 20)], [(25, 60)]) == [
        ("startup", 1),
        ("idle", 9),
        ("busy", 10),
        ("idle", 5),
        ("frozen", 35),
        ("idle", 40),
    ]


def test_a_request_that_thawed_it_counts_as_busy_from_its_first_moment() -> None:
    """The router thaws, and the platform hears of it a little later."""
    assert shown([(50, 60)], [(10, 52)])[1:4] == [("idle", 9), ("frozen", 40), ("busy", 10)]


spans = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)).map(lambda t: (t[0], sum(t))))


@given(spans, spans)
def test_what_is_shown_tiles_the_life_and_takes_nothing_from_what_is_busy(
    busy: list[tuple[int, int]], frozen: list[tuple[int, int]]
) -> None:
    found, without = shown(busy, frozen), shown(busy, [])
    assert sum(length for _, length in found) == 100
    for kind in ("startup", "busy", "shutdown"):
        assert [cut for cut in found if cut[0] == kind] == [c for c in without if c[0] == kind]


def test_an_instance_is_frozen_from_one_moment_to_another() -> None:
    frozen = Frozen()
    frozen.end("a", 1)  # it was not
    frozen.begin("a", 5)
    frozen.begin("a", 6)
    assert "a" in frozen
    assert frozen.stretches("a", 8) == [(5, 8)]
    frozen.end("a", 9)
    assert "a" not in frozen
    assert frozen.stretches("a", 99) == [(5, 9)]
    frozen.forget("a")
    assert frozen.stretches("a", 99) == []


def test_only_the_latest_stretches_are_remembered() -> None:
    frozen = Frozen()
    for moment in range(MOST + 3):
        frozen.begin("a", 2 * moment)
        frozen.end("a", 2 * moment + 1)
    assert len(frozen.stretches("a", 0)) == MOST
