"""A talk in memory: what a client's bytes become at an instance, as h11 reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11

from windlass.bench.judges import check_http1
from windlass.bench.memory import Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# What an attacker hides behind a request: it may reach the instance as a request of its own only.
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Reached:
    """One request as the instance has it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        return [value for other, value in self.fields if other == name]


@dataclass
class Outcome:
    """What came of a client's bytes."""

    statuses: list[int] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    closed: bool = False


def requests(sent: bytes) -> tuple[list[Reached], int]:
    """Return the requests in what an instance was sent, and how many of them are whole."""
    instance = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    instance.receive_data(sent)
    found: list[Reached] = []
    whole = 0
    while (event := instance.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Request):
            found.append(Reached(event.method, event.target, list(event.headers)))
        elif isinstance(event, h11.Data):
            found[-1].body += event.data
        elif isinstance(event, h11.EndOfMessage):
            whole += 1
            if instance.their_state is not h11.DONE:
                break
            instance.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            instance.send(h11.EndOfMessage())
            instance.start_next_cycle()
    return found, whole


def talk(*parts: bytes) -> Outcome:
    """Let a client send its parts, the instance answer each request, and both go.

    Nothing may be left of it: no slot, no place in the queue, no connection.
    """
    wire = Wire()
    client = wire.client()
    answered: dict[int, int] = {}
    for part in parts:
        client.bring(part)
        turned = True
        while turned:
            turned = False
            wire.connects.answer(succeed=True)
            for number, transport in enumerate(wire.connects.transports):
                _, whole = requests(bytes(transport.written))
                if answered.get(number, 0) < whole and not transport.ended:
                    answered[number] = answered.get(number, 0) + 1
                    turned = True
                    transport.bring(OK)
    outcome = Outcome(closed=client.ended or client.half_closed)
    for transport in wire.connects.transports:
        check_http1(bytes(transport.written))
        outcome.reached += requests(bytes(transport.written))[0]
    outcome.statuses = [int(one[:3]) for one in bytes(client.written).split(b"HTTP/1.1 ")[1:]]
    client.ended = True
    client.protocol.connection_lost(None)
    assert wire.pool.counts.in_flight == wire.endpoint.in_flight == wire.pool.counts.queued == 0
    for transport in wire.connects.transports:
        idle = transport.protocol in wire.endpoint.idle
        assert transport.ended or idle  # whatever is in doubt is closed
        transport.protocol.connection_lost(None)
    assert wire.leaks() == []
    return outcome
