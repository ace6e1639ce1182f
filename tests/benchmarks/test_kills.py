"""Kills of the whole platform: the verdict's arithmetic, and twenty kills under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.bench.kill_record import SECOND, Counted, Record, Request, judge
from windlass.bench.kills import Plan, measure

SERVER = Path(__file__).parents[2] / "examples" / "hello" / "server.py"
NOTHING = Counted(requests=0, busy=0.0)


def record(*requests: tuple[float, float | None], killed: float) -> Record:
    """What a client saw, in seconds; an end of None: no answer came."""
    found = [
        Request(
            begin=round(begin * SECOND),
            end=None if end is None else round(end * SECOND),
            answered=end is not None,
        )
        for begin, end in requests
    ]
    return Record(requests=found, killed=round(killed * SECOND))


def test_requests_that_overlap_are_one_busy_stretch_up_to_the_kill() -> None:
    seen = record((1.0, 2.0), (1.5, 3.0), (4.0, None), killed=5.0)
    verdict = judge(seen, NOTHING, Counted(2, 2.5, heard=round(4.5 * SECOND)))
    assert (verdict.busy, verdict.lost, verdict.is_sound) == (3.0, 0.5, True)


def test_what_is_lost_must_be_admitted() -> None:
    seen = record((1.0, 2.0), (2.0, 5.0), killed=5.0)
    for heard, is_sound in ((4.4, True), (4.9, False), (0, False)):
        after = Counted(requests=1, busy=3.5, heard=round(heard * SECOND))
        assert judge(seen, NOTHING, after).is_sound is is_sound


def test_what_came_before_does_not_count() -> None:
    verdict = judge(record((1.0, 2.0), killed=2.0), Counted(7, 3.0), Counted(8, 4.0))
    assert (verdict.counted, verdict.lost, verdict.is_sound) == (1, 0.0, True)


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        (Counted(requests=2, busy=1.4), "more than a second is lost"),
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
