"""The fuzzer finds what it is told to look for, and nothing in the router as it is."""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING, cast

import pytest
from hpack import Encoder

from windlass.bench.frames import client_bytes, frame
from windlass.bench.fuzz import Outcome, add, play, run
from windlass.bench.judges import Finding, check_http2
from windlass.bench.memory import Transport, Wire
from windlass.bench.mutation import Event
from windlass.router import upstream_http2
from windlass.router.bulk import BULK
from windlass.router.http1 import ClientConnection
from windlass.router.upstream import UpstreamConnection

if TYPE_CHECKING:
    from windlass.router.exchange import Exchange

GET = (Event.CLIENT_SENDS, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
CONNECTED = (Event.CONNECTED, b"")
OK = (Event.INSTANCE_SENDS, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.slow
async def test_thousands_of_hostile_inputs_crash_hang_and_leak_nothing() -> None:
    outcome = await run(3000, seed=5)
    assert outcome.findings == []
    assert outcome.inputs == 3000
    assert {"200", "400", "408", "502", "504"} <= set(outcome.statuses)
    assert {"h2 200", "h2 400", "h2 502", "h2 none"} <= set(outcome.statuses)


async def test_a_talk_goes_to_the_instance_and_back() -> None:
    assert await play([GET, CONNECTED, OK]) == OK[1]


async def test_a_talk_may_have_large_bodies() -> None:
    body = bytes(BULK + 1)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    asked = [(Event.CLIENT_SENDS, head), CONNECTED, (Event.CLIENT_SENDS, body)]
    answered = [(Event.INSTANCE_SENDS, answer), (Event.INSTANCE_SENDS, body)]
    assert await play([*asked, *answered]) == answer + body


async def test_a_slot_that_is_not_given_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(wire: Wire) -> Transport:
        transport = Transport(ClientConnection(wire.dispatch))
        assert wire.pool.acquire(cast("Exchange", transport.protocol), 0) is wire.endpoint
        return transport

    monkeypatch.setattr(Wire, "client", client)
    with pytest.raises(Finding, match="1 in flight"):
        await play([GET, CONNECTED, OK])


async def test_bytes_that_are_no_request_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Transport.write

    def smuggle(transport: Transport, data: bytes) -> None:
        is_request = isinstance(transport.protocol, UpstreamConnection)
        write(transport, data + b"evil\r\n\r\n" if is_request else data)

    monkeypatch.setattr(Transport, "write", smuggle)
    with pytest.raises(Finding, match="no HTTP"):
        await play([GET, CONNECTED])


def test_nothing_is_held_where_nothing_happened() -> None:
    assert Wire().leaks() == []


ANSWER = frame(4, 0, 0) + frame(1, 5, 1, bytes(Encoder().encode([(":status", "204")])))


async def test_a_talk_may_be_in_http_2_on_the_instances_side() -> None:
    said = await play([GET, CONNECTED, (Event.INSTANCE_SENDS, ANSWER)], h2c=True)
    assert said == b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_fields_that_http_2_has_not_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def smuggle(*_: object) -> list[tuple[bytes, bytes]]:
        return [(b":method", b"GET"), (b":path", b"/"), (b"connection", b"close")]

    monkeypatch.setattr(upstream_http2, "request_headers", smuggle)
    with pytest.raises(Finding, match="no HTTP/2"):
        await play([GET, CONNECTED], h2c=True)


def test_the_parts_of_a_run_add_up() -> None:
    one = Outcome(inputs=2, bytes=10, seconds=1, slowest=0.5, statuses={"200": 2}, memory=[7, 8])
    other = Outcome(inputs=1, bytes=5, seconds=1, slowest=0.1, statuses={"200": 1}, findings=["a"])
    both = add(add({}, "first", one), "second", other)
    both.pop("machine")
    assert both == {
        "commands": ["first", "second"],
        "inputs": 3,
        "bytes": 15,
        "seconds": 2,
        "slowest": 0.5,
        "statuses": {"200": 3},
        "findings": ["a"],
        "memory": [[7, 8], []],
    }


def test_most_talks_of_frames_are_of_use() -> None:
    made = [client_bytes(Random(number)) for number in range(300)]
    assert len(set(made)) > 250
    sound = 0
    for data in made:
        with contextlib.suppress(Finding):
            check_http2(data)
            sound += 1
    assert 30 < sound < 270
