"""Connections to instances: kept, stale, refused, broken; and which requests may be sent again."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest

from windlass.router import link

if TYPE_CHECKING:
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def kind(body: bytes) -> str:
    return str(json.loads(body)["type"]).removeprefix("urn:windlass:problem:")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + bytes(70_000),
    ],
)
async def test_an_answer_that_is_not_http_is_a_bad_gateway(rig: Rig, answer: bytes) -> None:
    rig.origin.answers("/", answer)
    client = await rig.client()
    client.get("/")
    status, body = await client.response()
    assert (status, kind(body)) == (502, "bad-response")
    async with asyncio.timeout(5):
        await rig.origin.gone.acquire()  # the connection in doubt is closed


async def test_broken_chunks_break_the_answer_off(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX")
    client = await rig.client()
    client.get("/")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.until(b"0\r\n\r\n")


async def test_an_instance_that_closes_without_an_answer_is_a_bad_gateway(rig: Rig) -> None:
    rig.origin.answers("/", b"", keep=False)
    client = await rig.client()
    client.get("/")
    status, body = await client.response()
    assert (status, kind(body)) == (502, "instance-closed")
    assert len(rig.origin.heads) == 1


async def test_an_answer_that_is_cut_short_is_broken_off(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", keep=False)
    client = await rig.client()
    client.get("/")
    await client.head()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.exactly(50)


async def test_bytes_behind_an_answer_are_nobodys(rig: Rig) -> None:
    rig.origin.answers("/", OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    client = await rig.client()
    for _ in range(2):
        client.get("/")
        assert await client.response() == (200, b"hello")
    assert rig.origin.connections == 2


async def test_a_connection_closed_while_idle_costs_a_get_nothing(rig: Rig) -> None:
    served = 0

    async def once(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonlocal served
        served += 1
        if served == 2:
            return False  # as if the idle connection had been closed just before
        writer.write(OK)
        return True

    rig.origin.handlers[b"/"] = once
    client = await rig.client()
    for _ in range(2):
        client.get("/")
        assert await client.response() == (200, b"hello")
    assert rig.origin.connections == 2


async def test_a_post_is_never_sent_twice(rig: Rig) -> None:
    served = 0

    async def once(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonlocal served
        served += 1
        if served == 2:
            return False
        writer.write(OK)
        return True

    rig.origin.handlers[b"/"] = once
    client = await rig.client()
    for expected in (200, 502):
        client.send(b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 0\r\n\r\n")
        status, _ = await client.response()
        assert status == expected
    assert served == 2


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


async def test_a_request_whose_instance_cannot_be_reached_goes_to_another(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    rig.ready("hello-00001-b", port=closed_port())
    await rig.settled(2)
    client = await rig.client()
    for _ in range(3):
        client.send(b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 2\r\n\r\nab")
        assert await client.response() == (200, b"hello")
    told = await rig.node.hears(link.InstanceUnreachable)
    assert (told.instance, told.failures) == ("hello-00001-b", 3)


async def test_the_last_instance_is_never_set_aside(rig: Rig) -> None:
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    rig.ready("hello-00001-b", port=closed_port())
    await rig.settled(1)
    client = await rig.client()
    for _ in range(2):
        client.get("/")
        status, body = await client.response()
        assert (status, kind(body)) == (502, "instance-unreachable")
        assert b"hello-00001-b" in body


async def test_an_instance_that_is_gone_fails_its_requests_with_the_reason(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 100 Continue\r\n\r\n")
    client = await rig.client()
    client.get("/")
    await client.head()
    rig.node.say(link.InstanceGone("hello-00001-a", "out of memory"))
    status, body = await client.response()
    assert (status, kind(body)) == (502, "instance-gone")
    assert b"out of memory" in body


async def test_a_request_that_was_only_connecting_waits_for_another_instance(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    rig.ready("hello-00001-b", port=closed_port())
    await rig.settled(1)
    client = await rig.client()
    client.get("/")
    await rig.until(lambda: rig.in_flight() == 1)
    rig.node.say(link.InstanceGone("hello-00001-b"))
    await rig.until(lambda: rig.queued() == 1)
    rig.ready("hello-00001-c")
    assert await client.response() == (200, b"hello")


async def test_an_instance_that_hangs_up_on_every_request_is_set_aside(rig: Rig) -> None:
    rig.origin.answers("/", b"", keep=False)
    rig.ready("hello-00001-b", port=closed_port())
    await rig.settled(2)
    instances = rig.worker.dispatch.pools["hello-00001"].instances
    client = await rig.client()
    while all(instance.open for instance in instances.values()):
        client.get("/")
        status, _ = await client.response()
        assert status == 502
    assert sum(instance.open for instance in instances.values()) == 1
