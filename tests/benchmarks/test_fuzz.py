"""The fuzzer finds what it is told to look for, and nothing in the router as it is."""

from __future__ import annotations

import pytest

from windlass.bench.fuzz import Finding, play, run
from windlass.bench.memory import Wire
from windlass.bench.mutation import Event
from windlass.router.exchange import Exchange
from windlass.router.upstream import UpstreamConnection

GET = (Event.CLIENT_SENDS, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
CONNECTED = (Event.CONNECTED, b"")
OK = (Event.INSTANCE_SENDS, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.slow
async def test_thousands_of_hostile_inputs_crash_hang_and_leak_nothing() -> None:
    outcome = await run(3000, seed=5)
    assert outcome.findings == []
    assert outcome.inputs == 3000
    assert {"200", "400", "408", "502", "504"} <= set(outcome.statuses)


async def test_a_talk_goes_to_the_instance_and_back() -> None:
    assert await play([GET, CONNECTED, OK]) == OK[1]


async def test_a_slot_that_is_not_given_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchange, "_leave", lambda *_, **__: None)
    with pytest.raises(Finding, match="1 in flight"):
        await play([GET, CONNECTED, OK])


async def test_bytes_that_are_no_request_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def smuggle(connection: UpstreamConnection, exchange: Exchange) -> None:
        connection._transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nevil\r\n\r\n")

    monkeypatch.setattr(UpstreamConnection, "begin", smuggle)
    with pytest.raises(Finding, match="no HTTP"):
        await play([GET, CONNECTED])


def test_nothing_is_held_where_nothing_happened() -> None:
    assert Wire().leaks() == []
