"""Sharing: what leases decide is said to workers, and the autoscaler hears when nothing is left."""

from __future__ import annotations

import asyncio

import pytest

from windlass.deploy import sharing
from windlass.deploy.leases import Level
from windlass.deploy.sharing import Sharing
from windlass.router import link

R = "hello-00001"


class Told:
    """Who was told what: workers, and the autoscaler."""

    def __init__(self) -> None:
        self.workers: list[tuple[str, link.ToWorker]] = []
        self.lacks: list[tuple[str, Level]] = []
        self.lacked = asyncio.Event()
        self.most: int | None = None

    def tell(self, worker: str, message: link.ToWorker) -> None:
        self.workers.append((worker, message))

    def lacking(self, revision: str, level: Level) -> None:
        self.lacks.append((revision, level))
        self.lacked.set()

    def news(self) -> list[tuple[str, link.ToWorker]]:
        found, self.workers = self.workers, []
        return found


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def shared(told: Told) -> Sharing:
    """Two workers, that have nothing yet."""
    shared = Sharing(told.tell, told.lacking, lambda revision: told.most)
    shared.linked("w1", {}, ())
    shared.linked("w2", {}, ())
    return shared


def starved(queued: int, in_flight: int = 0, granted: int = 0) -> link.Starved:
    return link.Starved(revision=R, queued=queued, in_flight=in_flight, granted=granted)


def returned(*slots: tuple[str, int], in_flight: int = 0, granted: int = 1) -> link.Returned:
    return link.Returned(
        revision=R, slots=slots, queued=0, in_flight=in_flight, granted=granted, answer=True
    )


def test_an_instances_slots_are_granted_to_workers(shared: Sharing, told: Told) -> None:
    shared.serve("a", R, 3)
    assert told.news() == [("w1", link.Grant("a", 2)), ("w2", link.Grant("a", 1))]
    shared.withhold("a")
    shared.remove("a")
    assert told.news() == []


def test_a_dead_workers_slots_are_granted_to_another(shared: Sharing, told: Told) -> None:
    shared.serve("a", R, 2)
    told.news()
    shared.unlinked("w2")
    shared.starved("w1", starved(1, in_flight=1, granted=1))
    assert told.news() == []
    assert told.lacks == [(R, Level(1, 1))]
    shared.gone("w2")
    assert told.news() == [("w1", link.Grant("a", 1))]


def test_a_new_node_tells_nothing_before_the_workers_of_the_last_have_spoken(told: Told) -> None:
    shared = Sharing(told.tell, told.lacking, lambda revision: None)
    shared.expect(["w1", "w2"])
    shared.serve("a", R, 4)
    shared.linked("w1", {"a": 1}, ())
    assert told.news() == []
    shared.linked("w2", {"a": 2}, ())
    assert told.news() == [("w1", link.Grant("a", 1))]


async def test_free_slots_are_recalled_before_a_lack_is_told(shared: Sharing, told: Told) -> None:
    shared.serve("a", R, 2)
    told.news()
    shared.starved("w1", starved(1, in_flight=1, granted=1))
    assert told.news() == [("w2", link.Recall(revision=R, slots=1, ahead=0))]
    assert told.lacks == []
    shared.returned("w2", returned(("a", 1)))
    assert told.news() == [("w1", link.Grant("a", 1))]
    assert told.lacks == []
    assert shared.level(R) == Level(2, 0)


async def test_after_an_answer_nobody_waits_for_it_any_more(
    shared: Sharing, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.01)
    shared.serve("a", R, 2)
    shared.starved("w1", starved(1, in_flight=1, granted=1))
    shared.returned("w2", returned(in_flight=1))
    assert told.lacks == [(R, Level(2, 1))]
    await asyncio.sleep(0.05)
    assert len(told.lacks) == 1


async def test_a_worker_that_does_not_answer_is_waited_for_no_longer_than_patience(
    shared: Sharing, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.01)
    shared.serve("a", R, 2)
    shared.starved("w1", starved(1, in_flight=1, granted=1))
    assert told.lacks == []
    async with asyncio.timeout(20):
        await told.lacked.wait()
    assert told.lacks == [(R, Level(1, 1))]
    shared.starved("w1", starved(2, in_flight=1, granted=1))  # and it is waited for once only
    assert len(told.lacks) == 2


def test_who_is_too_many_is_refused_and_the_lack_told_is_of_the_others(
    shared: Sharing, told: Told
) -> None:
    told.most = 2
    shared.starved("w1", starved(3))
    assert told.news() == [("w1", link.Refuse(R, 1))]
    assert told.lacks == [(R, Level(0, 2))]


async def test_a_worker_that_is_to_end_gives_its_slots_back(shared: Sharing, told: Told) -> None:
    shared.serve("a", R, 2)
    told.news()
    shared.retire("w1")
    assert told.news() == [("w1", link.Recall(revision=R, slots=1, ahead=0))]
    shared.returned("w1", returned(("a", 1)))
    assert told.news() == [("w2", link.Grant("a", 1))]


def test_the_level_is_that_of_all_workers_and_a_report_only_lowers_who_waits(
    shared: Sharing,
) -> None:
    shared.starved("w2", starved(3, in_flight=2))
    assert shared.reported("w1", R, Level(3, 7)) == Level(5, 3)
    assert shared.reported("w2", R, Level(2, 1)) == Level(5, 1)
    assert shared.level(R) == Level(5, 1)


async def test_a_worker_that_sets_an_instance_aside_gets_none_of_its_free_slots(
    shared: Sharing, told: Told
) -> None:
    shared.serve("a", R, 1)
    assert told.news() == [("w1", link.Grant("a", 1))]
    shared.set_aside("w2", link.InstanceAside("a", True))
    shared.starved("w2", starved(1))
    assert told.news() == [("w1", link.Recall(revision=R, slots=1, ahead=0))]
    shared.returned("w1", returned(("a", 1)))
    assert told.news() == []
    assert told.lacks == [(R, Level(0, 1))]
    shared.set_aside("w2", link.InstanceAside("a", False))
    assert told.news() == [("w2", link.Grant("a", 1))]
