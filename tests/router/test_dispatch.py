"""What the node's messages change, without a link or a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.router.waiting import Waiting

from windlass.router import link
from windlass.router.dispatch import Dispatch
from windlass.router.errors import Problem
from windlass.router.pool import SECOND, Pool

if TYPE_CHECKING:
    from pathlib import Path

    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange


class HeardVoice:
    """Remembers what is told to the node."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        self.told.append(("starved", pool.route.name))

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None:
        self.told.append(("returned", pool.route.name))

    def aside(self, instance: str, *, aside: bool) -> None:
        self.told.append(("aside", instance, aside))

    def drained(self, instance: str) -> None:
        self.told.append(("drained", instance))

    def rested(self, instance: str, number: int, *, at_rest: bool) -> None:
        self.told.append(("rested", instance, number, at_rest))

    def woken(self, instance: str) -> None:
        self.told.append(("woken", instance))

    def unreachable(self, instance: str, failures: int, reason: str) -> None:
        self.told.append(("unreachable", instance, failures, reason))


@pytest.fixture
def voice() -> HeardVoice:
    return HeardVoice()


@pytest.fixture
async def dispatch(voice: HeardVoice) -> Dispatch:
    dispatch = Dispatch(voice)
    dispatch.apply_routes(routes("hello-00001"), 0)
    return dispatch


def routes(*revisions: str) -> link.Routes:
    return link.Routes(
        services=(
            link.ServiceRoute(
                name="hello", splits=(link.Split(revision=revisions[0], percent=100),)
            ),
        ),
        revisions=tuple(
            link.RevisionRoute(name=name, service="hello", concurrency=1, queue_wait=1.0)
            for name in revisions
        ),
    )


def make_ready(dispatch: Dispatch, instance: str, now: int) -> None:
    route = link.InstanceRoute(id=instance, revision="hello-00001", host="127.0.0.1", port=1)
    dispatch.add_instance(link.InstanceReady(route), now)
    if not dispatch.leases()[instance]:
        dispatch.lease(link.Grant(instance, 1), now)


async def test_a_request_without_an_instance_starves_and_expires(
    dispatch: Dispatch, voice: HeardVoice
) -> None:
    exchange = Waiting(dispatch)
    exchange.begin(0)
    assert voice.told == [("starved", "hello-00001")]
    dispatch.sweep(SECOND - 1)
    assert exchange.problem is None
    dispatch.sweep(SECOND)
    assert exchange.problem is not None
    assert exchange.problem.kind == "queue-wait"


async def test_a_revision_that_vanished_finishes_what_it_has(dispatch: Dispatch) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.apply_routes(routes("hello-00002"), 1)
    assert set(dispatch.pools) == {"hello-00001", "hello-00002"}
    dispatch.remove_instance(link.InstanceGone("a"), 2)
    dispatch.apply_routes(routes("hello-00002"), 3)
    assert set(dispatch.pools) == {"hello-00002"}


async def test_who_waits_for_a_deleted_service_is_told_at_once(dispatch: Dispatch) -> None:
    make_ready(dispatch, "a", 0)
    served, *waiting = (Waiting(dispatch) for _ in range(3))
    pool = dispatch.pools["hello-00001"]
    pool.acquire(served, 0)
    for exchange in waiting:
        exchange.begin(0)
    # Another revision has the traffic: they go on waiting for theirs.
    table = routes("hello-00002", "hello-00001")
    dispatch.apply_routes(table, 1)
    assert [exchange.problem for exchange in waiting] == [None, None]

    dispatch.apply_routes(msgspec.structs.replace(table, services=()), 2)
    for exchange in waiting:
        assert exchange.problem is not None
        assert (exchange.problem.status, exchange.problem.kind) == (404, "no-such-service")
        assert "The service hello was deleted" in exchange.problem.detail
    assert (served.problem, pool.counts.in_flight, pool.counts.queued) == (None, 1, 0)


async def test_an_instance_set_aside_comes_back_after_a_while(
    dispatch: Dispatch, voice: HeardVoice
) -> None:
    for name in ("a", "b"):
        make_ready(dispatch, name, 0)
    pool = dispatch.pools["hello-00001"]
    broken, sound = pool.instances["a"], pool.instances["b"]
    assert dispatch.note_failures(broken, 4, "refused", 0)
    assert broken.open
    assert dispatch.note_failures(broken, 1, "refused", 0)
    assert voice.told[-2:] == [("unreachable", "a", 5, "refused"), ("aside", "a", True)]
    assert not broken.open
    assert not dispatch.note_failures(sound, 5, "refused", 0)
    assert sound.open
    dispatch.sweep(30 * SECOND - 1)
    assert not broken.open
    dispatch.sweep(30 * SECOND)
    assert broken.open


async def test_an_answer_makes_up_for_the_failures_before_it(dispatch: Dispatch) -> None:
    for name in ("a", "b"):
        make_ready(dispatch, name, 0)
    exchange = Waiting(dispatch)
    exchange.pool = dispatch.pools["hello-00001"]
    endpoint = exchange.endpoint = exchange.pool.acquire(exchange, 0)
    assert endpoint is not None
    dispatch.note_failures(endpoint, 4, "refused", 0)
    exchange.complete(1)
    dispatch.note_failures(endpoint, 4, "refused", 2)
    assert endpoint.open


async def test_retries_end_where_their_budget_does(dispatch: Dispatch) -> None:
    pool = dispatch.pools["hello-00001"]
    exchanges = [Waiting(dispatch) for _ in range(10)]
    for exchange in exchanges:
        exchange.begin(0)
    assert [exchange.may_retry() for exchange in exchanges[:4]] == [True, True, True, False]
    assert exchanges[0].may_retry()  # again: it has its place
    assert not exchanges[0].may_retry()  # its third retry
    exchanges[0].abandon(499, 1)
    assert exchanges[3].may_retry()
    for exchange in exchanges[1:]:
        exchange.abandon(499, 2)
    assert pool.budget.used == 0


async def test_a_host_nobody_serves_and_a_revision_nobody_knows(dispatch: Dispatch) -> None:
    with pytest.raises(Problem) as unknown:
        dispatch.pool_for(b"other.localhost")
    assert unknown.value.status == 404


async def test_an_abandoned_exchange_that_was_connecting_is_not_counted(
    dispatch: Dispatch,
) -> None:
    make_ready(dispatch, "a", 0)
    exchange = Waiting(dispatch)
    exchange.begin(0)
    exchange.abandon(499, 1)
    await asyncio.sleep(0)
    endpoint = dispatch.pools["hello-00001"].instances["a"]
    assert (endpoint.in_flight, endpoint.counts.requests) == (0, 0)
    revisions, _ = dispatch.report(2)
    assert revisions[0].responses == ((499, 1),)


async def test_an_instance_that_is_not_ready_gets_no_request_until_it_is_again(
    dispatch: Dispatch,
) -> None:
    make_ready(dispatch, "a", 0)
    pool = dispatch.pools["hello-00001"]
    dispatch.withhold_instance(link.InstanceUnready("a"))
    dispatch.withhold_instance(link.InstanceUnready("unknown"))
    dispatch.sweep(600 * SECOND)
    assert not pool.instances["a"].open
    make_ready(dispatch, "a", 1)
    assert pool.instances["a"].open


async def test_an_instance_that_drained_under_an_earlier_node_serves_the_next_one(
    dispatch: Dispatch, voice: HeardVoice
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.drain_instance(link.InstanceDraining("a"))
    assert voice.told == [("drained", "a")]
    assert not dispatch.pools["hello-00001"].instances["a"].open
    make_ready(dispatch, "a", 1)
    assert dispatch.pools["hello-00001"].instances["a"].open


class Freezer:
    """A freezer's file of an instance that the node has frozen."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_text("FROZEN")

    @property
    def state(self) -> str:
        return self.file.read_text()

    def lose(self) -> None:
        self.file.unlink()

    @property
    def is_there(self) -> bool:
        return self.file.exists()

    def rest(self, instance: str) -> link.InstanceRest:
        thaw = link.Thaw(str(self.file), "THAWED")
        return link.InstanceRest(instance=instance, round=1, thaw=thaw)


@pytest.fixture
def freezer(tmp_path: Path) -> Freezer:
    return Freezer(tmp_path / "freezer.state")


async def test_a_request_thaws_a_frozen_instance_and_says_so(
    dispatch: Dispatch, voice: HeardVoice, freezer: Freezer
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.rest_instance(freezer.rest("a"))
    dispatch.freeze_instance(link.InstanceFrozen("a"), 1)
    assert freezer.state == "FROZEN"
    exchange = Waiting(dispatch)
    exchange.begin(2)
    assert freezer.state == "THAWED"
    assert exchange.instance == "a"
    assert voice.told == [("rested", "a", 1, True), ("woken", "a")]


async def test_an_instance_in_use_is_not_put_to_rest(
    dispatch: Dispatch, voice: HeardVoice, freezer: Freezer
) -> None:
    make_ready(dispatch, "a", 0)
    exchange = Waiting(dispatch)
    exchange.begin(0)
    dispatch.rest_instance(freezer.rest("a"))
    dispatch.freeze_instance(link.InstanceFrozen("a"), 1)  # nobody may: it was refused
    assert voice.told == [("rested", "a", 1, False)]
    assert not dispatch.pools["hello-00001"].resting


async def test_an_instance_that_is_being_frozen_is_let_alone(
    dispatch: Dispatch, voice: HeardVoice, freezer: Freezer
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.rest_instance(freezer.rest("a"))
    exchange = Waiting(dispatch)
    exchange.begin(1)
    assert (exchange.instance, freezer.state) == ("", "FROZEN")
    assert voice.told[-1] == ("starved", "hello-00001")
    dispatch.freeze_instance(link.InstanceFrozen("a"), 2)  # the node has not heard of it yet
    assert (exchange.instance, freezer.state) == ("a", "THAWED")


async def test_the_node_calls_a_rest_off_with_ready(
    dispatch: Dispatch, voice: HeardVoice, freezer: Freezer
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.rest_instance(freezer.rest("a"))
    make_ready(dispatch, "a", 1)
    exchange = Waiting(dispatch)
    exchange.begin(2)
    assert exchange.instance == "a"
    dispatch.lose_node(3)
    assert (freezer.state, voice.told) == ("FROZEN", [("rested", "a", 1, True)])


async def test_requests_are_served_when_the_node_dies_while_it_freezes(
    dispatch: Dispatch, freezer: Freezer
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.rest_instance(freezer.rest("a"))
    exchange = Waiting(dispatch)
    exchange.begin(1)
    dispatch.lose_node(2)
    assert (exchange.instance, freezer.state) == ("a", "THAWED")


async def test_a_freezer_that_is_gone_fails_no_request(
    dispatch: Dispatch, freezer: Freezer
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.rest_instance(freezer.rest("a"))
    freezer.lose()
    dispatch.freeze_instance(link.InstanceFrozen("a"), 1)
    exchange = Waiting(dispatch)
    exchange.begin(2)
    assert exchange.instance == "a"
    assert not freezer.is_there


@pytest.mark.parametrize(
    "what", [link.InstanceUnready("a"), link.InstanceDraining("a"), link.InstanceGone("a")]
)
async def test_a_frozen_instance_that_serves_no_more_is_left_to_the_node(
    dispatch: Dispatch, freezer: Freezer, what: link.ToWorker
) -> None:
    make_ready(dispatch, "a", 0)
    dispatch.rest_instance(freezer.rest("a"))
    match what:
        case link.InstanceUnready():
            dispatch.withhold_instance(what)
        case link.InstanceDraining():
            dispatch.drain_instance(what)
        case link.InstanceGone():
            dispatch.remove_instance(what, 1)
    dispatch.lose_node(2)
    exchange = Waiting(dispatch)
    exchange.begin(3)
    assert (exchange.instance, freezer.state) == ("", "FROZEN")


async def test_an_instance_that_is_not_known_may_be_frozen(
    dispatch: Dispatch, voice: HeardVoice, freezer: Freezer
) -> None:
    dispatch.rest_instance(freezer.rest("never-seen"))
    assert voice.told == [("rested", "never-seen", 1, True)]
