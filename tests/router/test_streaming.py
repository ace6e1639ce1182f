"""Answers that come in parts pass at once, to every kind of client."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.router.http2_client import Http2Client

if TYPE_CHECKING:
    from tests.router.conftest import Rig

EVENTS = 20


class Events:
    """A server-sent stream whose next event is only sent when the one before was seen."""

    def __init__(self, framing: bytes) -> None:
        self.framing = framing
        self.seen = asyncio.Semaphore(1)

    async def serve(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(self.framing + b"\r\n")
        for n in range(EVENTS):
            await self.seen.acquire()
            event = b"data: %d\n\n" % n
            writer.write(b"%x\r\n%b\r\n" % (len(event), event) if self.framing else event)
        if self.framing:
            writer.write(b"0\r\n\r\n")
        return bool(self.framing)


@pytest.fixture(params=[b"Transfer-Encoding: chunked\r\n", b""], ids=["chunked", "until-close"])
def events(rig: Rig, request: pytest.FixtureRequest) -> Events:
    events = Events(request.param)
    rig.origin.handlers[b"/events"] = events.serve
    return events


async def test_each_event_passes_before_the_next_is_sent(rig: Rig, events: Events) -> None:
    client = await rig.client()
    client.get("/events", "Accept: text/event-stream")
    await client.head()
    for n in range(EVENTS):
        assert f"data: {n}\n\n".encode() in await client.until(b"\n\n\r\n")
        events.seen.release()
    assert await client.until(b"0\r\n\r\n")


def _ends_with(client: Http2Client, stream: int, event: bytes) -> bool:
    return client.body(stream).endswith(event)


async def test_each_event_passes_at_once_over_http_2(rig: Rig, events: Events) -> None:
    client = await Http2Client.connect(rig.port)
    stream = client.request("/events")
    for n in range(EVENTS):
        ends_with_it = partial(_ends_with, client, stream, f"data: {n}\n\n".encode())
        await client.hears(ends_with_it)
        events.seen.release()
    status, body = await client.response(stream)
    assert (status, body.count(b"data:")) == (200, EVENTS)
    await client.close()


async def test_curl_prints_each_event_as_it_comes(rig: Rig, events: Events) -> None:
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sSN", "--http2-prior-knowledge", "-H", "Host: hello.localhost"),
        f"http://127.0.0.1:{rig.port}/events",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(10):
        for n in range(EVENTS):
            assert await process.stdout.readuntil(b"\n\n") == f"data: {n}\n\n".encode()
            events.seen.release()
        assert await process.wait() == 0
