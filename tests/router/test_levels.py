"""Levels beside a model that searches: whatever goes up, down, in and out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.router.levels import Instance, Levels

CONCURRENCY = 4


def choose(stacks: list[list[Instance]], target: int) -> Instance | None:
    """As Levels does, by looking at all of them."""
    below = [stack for stack in stacks[:target] if stack]
    above = [stack for stack in stacks[target:] if stack]
    return below[-1][-1] if below else above[0][-1] if above else None


@given(
    st.integers(0, CONCURRENCY),
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, CONCURRENCY - 1)))),
)
def test_the_fullest_below_the_target_is_chosen_and_of_equals_the_newest(
    target: int, moves: list[tuple[int, int | None]]
) -> None:
    levels = Levels(CONCURRENCY)
    levels.aim(target)
    instances = [Instance(str(number)) for number in range(6)]
    stacks: list[list[Instance]] = [[] for _ in range(CONCURRENCY)]
    for number, level in moves:  # None: it has no slot free any more
        instance = instances[number]
        if instance in stacks[instance.in_flight]:
            levels.leave(instance)
            stacks[instance.in_flight].remove(instance)
        if level is not None:
            instance.in_flight = level
            levels.enter(instance)
            stacks[level].append(instance)
        filled = [stack for stack in stacks if stack]
        assert levels.choose() is choose(stacks, target)
        assert levels.fullest() is (filled[-1][0] if filled else None)
        assert levels.has_room() == any(stacks[: max(target, 1)])
