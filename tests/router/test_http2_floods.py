"""What an HTTP/2 client does to wear the worker out ends its connection, and frees every slot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, StreamReset
from h2.settings import SettingCodes
from hpack import Encoder

from windlass.router import link
from windlass.router.http2_flow import STREAM_WINDOW
from windlass.router.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from windlass.router.http2_session import CONNECTION_WINDOW, MAX_STREAMS

if TYPE_CHECKING:
    from tests.router.conftest import Connect, Rig

HEAD = [
    *((":method", "GET"), (":scheme", "http"), (":authority", "hello.localhost")),
    (":path", "/never"),
]
PADDED = 0x8
MOST = 0x7FFFFFFF.to_bytes(4, "big")  # bytes a window may have


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


# The head in a block that adds nothing to the table, and the table's newest field.
UNINDEXED = b"\x82\x86\x01\x0fhello.localhost\x04\x06/never"
NEWEST = b"\xbe"


def block(*fields: tuple[str, str]) -> bytes:
    return bytes(Encoder().encode([*HEAD, *fields]))


async def never(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.read()
    return False


async def test_the_hundred_and_first_stream_is_refused_alone(rig: Rig, connect: Connect) -> None:
    rig.route(concurrency=1000)
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    await client.hears(
        lambda: client.connection.remote_settings.max_concurrent_streams == MAX_STREAMS
    )
    client.connection.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
    client.connection.remote_settings.acknowledge()
    streams = [client.request("/never") for _ in range(MAX_STREAMS + 1)]
    await client.hears(lambda: client.has(streams[-1], StreamReset))
    assert client.reset_code(streams[-1]) == ErrorCodes.REFUSED_STREAM
    assert not any(client.has(stream, StreamReset) for stream in streams[:-1])
    await client.close()
    await rig.free()


async def test_rapid_resets_end_the_connection(rig: Rig, connect: Connect) -> None:
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    for _ in range(2000):
        stream = client.request("/never")
        client.connection.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
    assert await client.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
    await rig.free()


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\x08\x06\0\0\0\0\0" + bytes(8),  # PING
        b"\0\0\0\x04\0\0\0\0\0",  # SETTINGS
        b"\0\0\0\0\0\0\0\0\x01",  # DATA without data
        b"\0\0\x05\x02\0\0\0\0\x03" + bytes(5),  # PRIORITY
        b"\0\0\0\x09\0\0\0\0\x03",  # CONTINUATION
    ],
    ids=["ping", "settings", "data", "priority", "continuation"],
)
async def test_a_flood_of_frames_ends_the_connection(
    rig: Rig, connect: Connect, frame: bytes
) -> None:
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    client.request("/never", method="POST", end=False)
    if frame[3] == 9:
        client.writer.write(b"\0\0\0\x01\0\0\0\0\x03")
    client.writer.write(frame * 3000)
    assert await client.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
    await rig.free()


async def test_a_header_list_over_the_limit_ends_the_connection(rig: Rig, connect: Connect) -> None:
    client = await connect()
    client.request("/", *((f"a{n}", "x" * 900) for n in range(40)))
    assert await client.goaway() == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(
            b"".join(
                raw(HEADERS, END_HEADERS, n, block()) + raw(WINDOW_UPDATE, 0, n, bytes(4))
                for n in range(3, 2003, 2)
            ),
            (ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR),
            id="resets that we are made to send",
        ),
        pytest.param(
            raw(WINDOW_UPDATE, 0, 0, MOST), (ErrorCodes.FLOW_CONTROL_ERROR,), id="window too large"
        ),
        pytest.param(
            raw(WINDOW_UPDATE, 0, 0, bytes(4)), (ErrorCodes.PROTOCOL_ERROR,), id="window not opened"
        ),
        pytest.param(
            raw(SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"),
            (ErrorCodes.FLOW_CONTROL_ERROR, ErrorCodes.PROTOCOL_ERROR),
            id="a first window too large",
        ),
        pytest.param(
            raw(HEADERS, 5, 3, b"\x3f\xe1\xff\x03" + block()),
            (ErrorCodes.COMPRESSION_ERROR, ErrorCodes.PROTOCOL_ERROR),
            id="a table larger than allowed",
        ),
        pytest.param(
            raw(HEADERS, 5, 3, block(("x", "y" * 3900)))
            + raw(HEADERS, 5, 5, UNINDEXED + NEWEST * 8),
            (ErrorCodes.ENHANCE_YOUR_CALM,),
            id="a field of the table eight times",
        ),
        pytest.param(
            raw(HEADERS, 5, 3, block(("x", "y" * 4000))) + raw(HEADERS, 5, 5, UNINDEXED + NEWEST),
            (),
            id="a field of the table once",
        ),
        pytest.param(
            raw(HEADERS, 5, 3, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
            (ErrorCodes.COMPRESSION_ERROR, ErrorCodes.PROTOCOL_ERROR),
            id="an index without end",
        ),
        pytest.param(
            raw(DATA, 0, 1, bytes(16385)), (ErrorCodes.FRAME_SIZE_ERROR,), id="a frame too large"
        ),
        pytest.param(
            raw(PING, 0, 0, bytes(7)),
            (ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.PROTOCOL_ERROR),
            id="a ping too short",
        ),
        pytest.param(
            raw(DATA, PADDED, 1, b"\x05abc"),
            (ErrorCodes.PROTOCOL_ERROR,),
            id="only padding, and more",
        ),
        pytest.param(
            raw(HEADERS, 5, 2, block()), (ErrorCodes.PROTOCOL_ERROR,), id="a stream of the server's"
        ),
        pytest.param(
            raw(HEADERS, 5, 5, block()) + raw(HEADERS, 5, 3, block()),
            (ErrorCodes.PROTOCOL_ERROR, ErrorCodes.STREAM_CLOSED),
            id="streams in the wrong order",
        ),
        pytest.param(
            raw(PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
            (ErrorCodes.PROTOCOL_ERROR,),
            id="a push",
        ),
        pytest.param(
            raw(HEADERS, 0, 3, block()[:4]) + raw(DATA, 0, 1, b"x"),
            (ErrorCodes.PROTOCOL_ERROR,),
            id="something inside a header block",
        ),
        pytest.param(
            raw(CONTINUATION, END_HEADERS, 1, block()),
            (ErrorCodes.PROTOCOL_ERROR,),
            id="a header block without a beginning",
        ),
        pytest.param(raw(DATA, 0, 0, b"x"), (ErrorCodes.PROTOCOL_ERROR,), id="data of no stream"),
        pytest.param(
            raw(PRIORITY, 0, 3, bytes(3) + b"\x03\0"),
            (ErrorCodes.PROTOCOL_ERROR,),
            id="a stream that depends on itself",
        ),
        pytest.param(
            raw(HEADERS, END_HEADERS, 3, block(("content-length", "1")))
            + raw(DATA, END_STREAM, 3, b"xy"),
            (ErrorCodes.PROTOCOL_ERROR,),
            id="a body longer than its length",
        ),
    ],
)
async def test_a_breach_of_the_rules_ends_the_connection_alone(
    rig: Rig, connect: Connect, frames: bytes, code: tuple[ErrorCodes, ...]
) -> None:
    rig.origin.handlers[b"/never"] = never
    other = await connect()
    kept = other.request("/never")
    client = await connect()
    client.request("/never", method="POST", end=False)
    await rig.until(lambda: rig.in_flight() == 2)
    client.writer.write(frames)
    if code:
        assert await client.goaway() in code
        await rig.until(lambda: rig.in_flight() == 1)
        for _ in range(rig.origin.connections - 1):
            async with asyncio.timeout(5):
                await rig.origin.gone.acquire()
    else:
        await rig.until(lambda: rig.in_flight() == 4)
        client.writer.close()
    other.connection.reset_stream(kept, ErrorCodes.CANCEL)
    other.flush()
    await rig.free()
    assert not other.closed


async def test_more_than_the_window_ends_the_connection(rig: Rig, connect: Connect) -> None:
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await connect()
    # It waits for a slot, so nothing of its body is passed on and its window stays as it was.
    stream = client.request("/never", method="POST", end=False)
    await rig.until(lambda: rig.queued() == 1)
    client.writer.write(raw(DATA, 0, stream, bytes(16384)) * (STREAM_WINDOW // 16384 + 1))
    assert await client.goaway() == ErrorCodes.FLOW_CONTROL_ERROR
    await rig.free()


async def test_a_window_of_a_stream_that_is_too_large_resets_it_alone(
    rig: Rig, connect: Connect
) -> None:
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    first, second = (client.request("/never", method="POST", end=False) for _ in range(2))
    client.writer.write(raw(WINDOW_UPDATE, 0, first, MOST))
    await client.hears(lambda: client.has(first, StreamReset))
    assert client.reset_code(first) == ErrorCodes.FLOW_CONTROL_ERROR
    await rig.until(lambda: rig.in_flight() == 1)
    assert not client.has(second, StreamReset)


async def test_frames_on_a_stream_that_was_reset_are_taken_in_silence_or_refused(
    rig: Rig, connect: Connect
) -> None:
    rig.origin.handlers[b"/never"] = never
    client = await connect()
    stream = client.request("/never", method="POST", end=False)
    client.writer.write(raw(RST_STREAM, 0, stream, bytes(4)))
    client.writer.write(raw(DATA, 0, stream, b"x" * 1000) * 200)
    client.writer.write(raw(WINDOW_UPDATE, 0, stream, (1).to_bytes(4, "big")) * 200)
    client.writer.write(raw(PING, 0, 0, b"12345678"))
    await client.hears(lambda: client.closed or client.has(0, PingAckReceived))
    await rig.free()


async def test_a_body_that_waits_for_a_slot_is_taken_up_to_its_window(
    rig: Rig, connect: Connect
) -> None:
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await connect()
    await client.hears(lambda: client.connection.outbound_flow_control_window >= CONNECTION_WINDOW)
    streams = [client.request("/never", method="POST", end=False) for _ in range(7)]
    for stream in streams:
        for _ in range(STREAM_WINDOW // 16384):
            client.send(stream, bytes(16384))
            await client.writer.drain()
    await rig.until(lambda: rig.queued() == 7)
    client.connection.ping(b"12345678")
    client.flush()
    await client.hears(lambda: client.has(0, PingAckReceived))
    for stream in streams:
        assert client.connection.local_flow_control_window(stream) == 0
    client.writer.close()
    await rig.free()
