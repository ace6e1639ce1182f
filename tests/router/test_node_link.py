"""The link from the worker's end: what the node hears, and what is kept while it is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from windlass.router import link

if TYPE_CHECKING:
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def test_a_report_counts_what_happened(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    for _ in range(3):
        client.get("/")
        await client.response()
    report = await rig.node.hears(link.Report)
    revision, instance = report.revisions[0], report.instances[0]
    assert (revision.name, revision.responses) == ("hello-00001", ((200, 3),))
    assert (instance.id, instance.requests, len(instance.busy)) == ("hello-00001-a", 3, 3)
    assert sum(end - begin for begin, end in instance.busy) == revision.demand
    assert report.begin <= instance.busy[0][0] <= instance.busy[-1][1] <= report.end


async def test_an_idle_worker_reports_that_nothing_happened_up_to_now(rig: Rig) -> None:
    for _ in range(3):
        rig.worker.link.report(rig.worker.dispatch)
    moments = [(await rig.node.hears(link.Quiet, count)).end for count in (1, 2, 3)]
    known = [*moments, time.monotonic_ns()]
    assert known == sorted(set(known))
    assert not any(isinstance(message, link.Report) for message in rig.node.heard)


async def test_a_report_begins_where_the_worker_was_quiet_up_to(rig: Rig) -> None:
    rig.worker.link.report(rig.worker.dispatch)
    await rig.node.hears(link.Quiet)
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/")
    await client.response()
    report = await rig.node.hears(link.Report)
    quiet = [message for message in rig.node.heard if isinstance(message, link.Quiet)]
    assert report.begin in {message.end for message in quiet}


async def test_reports_that_were_not_acknowledged_come_again_after_a_reconnect(rig: Rig) -> None:
    rig.node.acknowledges = False
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/")
    await client.response()
    first = await rig.node.hears(link.Report)
    rig.node.hang_up()
    hello = await rig.node.hears(link.Hello, 2)
    assert hello.slots == {"hello-00001-a": 80}
    again = await rig.node.hears(link.Report, 2)
    assert again == first
    rig.node.acknowledges = True
    rig.node.say(link.Acknowledge(first.sequence))


async def test_requests_are_served_while_the_node_is_away(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    rig.node.hang_up()
    client.get("/")
    assert await client.response() == (200, b"hello")
    report = await rig.node.hears(link.Report)
    assert report.revisions[0].responses == ((200, 1),)


async def test_starvation_is_told_once_for_requests_of_one_turn(rig: Rig) -> None:
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await rig.client()
    client.get("/")
    starved = await rig.node.hears(link.Starved)
    assert (starved.revision, starved.queued, starved.in_flight) == ("hello-00001", 1, 0)
    others = [await rig.client() for _ in range(20)]
    for other in others:
        other.get("/")
    await rig.until(lambda: rig.queued() == 21)
    heard = [message for message in rig.node.heard if isinstance(message, link.Starved)]
    assert len(heard) <= 21
    rig.node.say(link.StartFailed("hello-00001", "no"))


async def test_a_drained_instance_is_told_when_its_last_request_ends(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    client = await rig.client()
    client.get("/")
    await client.head()
    rig.node.say(link.InstanceDraining("hello-00001-a"))
    waiting = await rig.client()
    await rig.until(
        lambda: (
            not rig.worker.dispatch.pools["hello-00001"].instances
            or all(i.draining for i in rig.worker.dispatch.pools["hello-00001"].instances.values())
        )
    )
    waiting.get("/")
    await rig.until(lambda: rig.queued() == 1)
    assert not any(isinstance(message, link.InstanceDrained) for message in rig.node.heard)
    client.close()
    drained = await rig.node.hears(link.InstanceDrained)
    assert drained.instance == "hello-00001-a"
    assert rig.queued() == 1


async def test_an_unknown_instance_has_drained_already(rig: Rig) -> None:
    rig.node.say(link.InstanceDraining("never-seen"))
    assert (await rig.node.hears(link.InstanceDrained)).instance == "never-seen"


async def test_the_last_report_of_an_instance_that_is_gone_is_not_lost(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/")
    await client.response()
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    report = await rig.node.hears(link.Report)
    assert [instance.id for instance in report.instances] == ["hello-00001-a"]
    assert report.instances[0].requests == 1


async def test_a_drained_worker_says_all_and_ends(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/")
    await client.response()
    client.close()
    rig.node.say(link.Drain(grace=5.0))
    await rig.running
    report = await rig.node.hears(link.Report)
    assert report.revisions[0].responses == ((200, 1),)
