"""The packing of requests onto instances: its loads, and a short run through a real platform."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from windlass.bench.packing import BOUND, LOADS, Packed, Plan, measure, moments, rates

SERVER = str(Path(__file__).parents[2] / "examples" / "hello" / "server.py")


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("by_chance", [False, True])
def test_every_load_has_the_plans_rate_on_average(load: str, by_chance: bool) -> None:
    plan = Plan(duration=100, rate=50, by_chance=by_chance)
    arrivals = moments(rates(plan)[load], plan)
    assert len(arrivals) == pytest.approx(50 * 100, rel=0.06)
    assert list(arrivals) == sorted(arrivals)
    assert arrivals[-1] < 100


def test_arrivals_are_even_unless_they_come_by_chance() -> None:
    plan = Plan(duration=10, rate=100)
    apart = [b - a for a, b in pairwise(moments(rates(plan)["steady"], plan))]
    assert max(apart) - min(apart) < 0.0011


def test_a_burst_is_ten_times_the_rest() -> None:
    plan = Plan(duration=40, rate=50)
    arrivals = moments(rates(plan)["bursty"], plan)
    burst = sum(moment % 4 < 1 for moment in arrivals)
    assert burst / (len(arrivals) - burst) == pytest.approx(31 / 9, rel=0.1)


def test_errors_and_too_many_instances_are_not_sound() -> None:
    sound = Packed(
        load="steady",
        requests=9,
        errors=0,
        most_in_flight=1,
        instances=1,
        busy=10 * BOUND,
        fewest=10.0,
        fewest_by_schedule=10.0,
        rounding=0.0,
    )
    assert sound.is_sound
    assert not replace(sound, busy=11.1).is_sound
    assert not replace(sound, errors=1).is_sound


@pytest.mark.e2e
@pytest.mark.slow
async def test_busy_instances_are_at_most_a_tenth_more_than_are_needed() -> None:
    """At a rate that a busy machine can serve, too: what is judged is who serves, not how fast."""
    plan = Plan(duration=10, rate=45, concurrency=5, server=SERVER)
    [found] = await measure(plan, ["bursty"])
    assert found.errors == 0
    assert found.fewest > 5
    assert found.ratio <= BOUND
