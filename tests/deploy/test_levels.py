"""The sums of what workers say, and what is left when one of them is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.levels import Levels


def test_levels_of_several_workers_add_up() -> None:
    levels = Levels()
    assert levels.set_instance("worker-1", "a", 3) == 3
    assert levels.set_instance("worker-2", "a", 4) == 7
    assert levels.set_instance("worker-1", "a", 0) == 4


def test_what_a_dead_worker_had_in_flight_is_forgotten() -> None:
    levels = Levels()
    levels.set_instance("worker-1", "a", 3)
    levels.set_instance("worker-1", "b", 1)
    levels.set_instance("worker-2", "b", 5)
    assert levels.worker_gone("worker-1") == {"a": 0, "b": 5}
    assert levels.worker_gone("worker-1") == {}


places = st.sampled_from(["worker-1", "worker-2", "worker-3"])
said = st.lists(st.tuples(places, st.sampled_from("ab"), st.integers(0, 9)), max_size=20)


@given(said)
def test_the_sum_is_that_of_each_workers_last_word(words: list[tuple[str, str, int]]) -> None:
    levels, last = Levels(), dict[tuple[str, str], int]()
    for place, instance, in_flight in words:
        last[place, instance] = in_flight
        expected = sum(level for (_, name), level in last.items() if name == instance)
        assert levels.set_instance(place, instance, in_flight) == expected
