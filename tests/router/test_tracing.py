"""Ids that a request is followed by, and where its time went."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.router.http2_client import Http2Client

from windlass.router import link
from windlass.router.tracing import Ids

if TYPE_CHECKING:
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def values(head: bytes, name: bytes) -> list[bytes]:
    return re.findall(rb"(?im)^" + name + rb": ([^\r]*)\r$", head)


async def test_a_request_without_ids_gets_new_ones(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    for _ in range(2):
        client.get("/")
        await client.response()
    ids = [values(head, b"x-request-id") for head in rig.origin.heads]
    parents = [values(head, b"traceparent") for head in rig.origin.heads]
    assert all(len(found) == 1 for found in (*ids, *parents))
    assert ids[0] != ids[1]
    assert parents[0] != parents[1]
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", parents[0][0])


async def test_valid_ids_are_kept(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/", "X-Request-Id: mine-1", f"traceparent: {PARENT}", "tracestate: a=b")
    await client.response()
    head = rig.origin.heads[0]
    assert values(head, b"x-request-id") == [b"mine-1"]
    assert values(head, b"traceparent") == [PARENT.encode()]
    assert values(head, b"tracestate") == [b"a=b"]


@pytest.mark.parametrize(
    "fields",
    [
        ("X-Request-Id: a b", "traceparent: 00-0-0-00", "tracestate: a=b"),
        ("X-Request-Id: " + "a" * 129, f"traceparent: ff{PARENT[2:]}"),
        ("X-Request-Id: a", "X-Request-Id: b", f"traceparent: {PARENT}", f"traceparent: {PARENT}"),
    ],
)
async def test_ids_that_are_not_valid_are_replaced(rig: Rig, fields: tuple[str, ...]) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/", *fields)
    await client.response()
    head = rig.origin.heads[0]
    (request_id,) = values(head, b"x-request-id")
    assert re.fullmatch(rb"[0-9a-f]{28}", request_id)
    (parent,) = values(head, b"traceparent")
    assert parent.endswith(b"-01")
    assert values(head, b"tracestate") == []


async def test_a_cold_start_is_said_once(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await rig.client()
    client.get("/")
    await rig.until(lambda: rig.queued() == 1)
    rig.ready("hello-00001-b")
    head = await client.head()
    (milliseconds,) = values(head, b"windlass-cold-start")
    assert int(milliseconds) >= 1
    assert await client.exactly(5) == b"hello"
    client.get("/")
    assert values(await client.head(), b"windlass-cold-start") == []


@pytest.mark.parametrize("version", [1, 2])
async def test_server_timing_is_there_when_asked_for(rig: Rig, version: int) -> None:
    rig.worker.dispatch.server_timing = True
    rig.origin.answers("/", OK)
    if version == 1:
        client = await rig.client()
        client.get("/", "X-Request-Id: mine")
        head = await client.head()
        timing, request_id = (values(head, n)[0] for n in (b"server-timing", b"x-request-id"))
    else:
        http2 = await Http2Client.connect(rig.port)
        stream = http2.request("/", ("x-request-id", "mine"))
        await http2.response(stream)
        fields = http2.head(stream)
        timing, request_id = (fields[n].encode() for n in ("server-timing", "x-request-id"))
        await http2.close()
    assert request_id == b"mine"
    assert re.fullmatch(
        rb"queue;dur=\d+\.\d{3}, start;dur=0\.000, connect;dur=\d+\.\d{3}, app;dur=\d+\.\d{3}",
        timing,
    )


def test_two_workers_make_different_ids() -> None:
    assert Ids().fields(b"", False) != Ids().fields(b"", False)
