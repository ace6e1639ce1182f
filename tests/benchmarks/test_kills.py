"""Kills of the whole platform: the verdict's arithmetic, and twenty kills under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.bench.kill_record import SECOND, Counted, Record, Request, judge
from windlass.bench.kills import Plan, measure

SERVER = Path(__file__).parents[2] / "examples" / "hello" / "server.py"
NOTHING = Counted(requests=0, busy=0.0)


def record(*requests: tuple[float, float | None], killed: float) -> Record:
    """What a client saw, in seconds; an end of None: no answer came. All was served but 0.1 s."""
    found = [
        Request(
            begin=round(begin * SECOND),
            wait=0 if end is None else round((end - begin - 0.1) * SECOND),
            end=None if end is None else round(end * SECOND),
            answered=end is not None,
        )
        for begin, end in requests
    ]
    return Record(requests=found, killed=round(killed * SECOND))


def gap(begin: float, end: float) -> tuple[int, int]:
    return round(begin * SECOND), round(end * SECOND)


def test_requests_that_overlap_are_one_busy_stretch_up_to_the_kill() -> None:
    seen = record((1.0, 2.0), (1.5, 3.0), (4.0, None), killed=5.0)
    verdict = judge(seen, NOTHING, Counted(2, 2.5, (gap(4.5, 6.0),)))
    assert (verdict.busy, verdict.lost, verdict.admitted) == (3.0, 0.5, 0.5)
    assert verdict.is_sound


@pytest.mark.parametrize(
    ("begin", "hidden"),
    [(4.3, 0.0), (4.45, 0.0), (4.9, 0.3), (5.0, 0.3)],
)
def test_what_is_lost_must_be_admitted(begin: float, hidden: float) -> None:
    """Surely served: [1.1, 1.9) and [2.1, 4.9), of which 3.3 s are counted."""
    seen = record((1.0, 2.0), (2.0, 5.0), killed=5.0)
    verdict = judge(seen, NOTHING, Counted(2, 3.3, (gap(begin, 7.0),)))
    assert verdict.hidden == pytest.approx(hidden)
    assert verdict.is_sound is (hidden == 0)


def test_what_an_earlier_kill_cost_is_not_admitted_for_this_one() -> None:
    seen = record((1.0, 2.0), (2.0, 5.0), killed=5.0)
    verdict = judge(seen, NOTHING, Counted(2, 3.3, (gap(0.2, 0.9),)))
    assert (verdict.admitted, verdict.is_sound) == (0.0, False)


def test_more_than_may_be_lost_must_not_be_admitted() -> None:
    seen = record((1.0, 2.0), (2.0, 5.0), killed=5.0)
    assert not judge(seen, NOTHING, Counted(2, 3.9, (gap(3.99, 7.0),))).is_sound
    assert judge(seen, NOTHING, Counted(2, 3.9, (gap(4.01, 7.0),))).is_sound


def test_what_came_before_does_not_count() -> None:
    verdict = judge(record((1.0, 2.0), killed=2.0), Counted(7, 3.0), Counted(8, 4.0))
    assert (verdict.counted, verdict.lost, verdict.is_sound) == (1, 0.0, True)


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        (Counted(requests=2, busy=1.9), "more than a second is lost"),
        (Counted(requests=2, busy=3.1), "more was busy than the client had under way"),
        (Counted(requests=4, busy=3.0), "more was counted than was sent"),
        (Counted(requests=0, busy=3.0), "what was answered long before is not counted"),
    ],
)
def test_a_wrong_ledger_is_found_out(after: Counted, wrong: str) -> None:
    seen = record((1.0, 2.0), (2.0, 3.0), (3.0, None), killed=4.0)
    assert not judge(seen, NOTHING, after).is_sound, wrong


@pytest.mark.e2e
@pytest.mark.slow
async def test_a_kill_costs_at_most_a_second_and_counts_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    plan = Plan(kills=20, seed=7, server=str(SERVER))
    verdicts = await measure(plan, tmp_path_factory.mktemp("kills"))
    assert [verdict for verdict in verdicts if not verdict.is_sound] == []
