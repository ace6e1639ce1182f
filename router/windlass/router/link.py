"""The link: what the node and a router worker tell each other, over one Unix socket per worker.

Messages are msgpack with a four-byte big-endian length before each. Moments are CLOCK_MONOTONIC
nanoseconds, which all processes of a machine share. What either side does with them is not
known here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

import msgspec

from windlass.model.service import Mode

if TYPE_CHECKING:
    import asyncio


class RevisionRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker must know of a revision to serve it."""

    name: str
    service: str
    mode: Mode = Mode.CLOUDRUN
    concurrency: int = 80  # requests in flight in one instance
    target: int = 80  # in-flight up to which an instance is filled before the next one
    max_instances: int = 100
    shadow_concurrency: int = 80  # concurrency at which `packed` is computed, see RevisionReport
    timeout: float = 300.0  # seconds a request may take
    queue_wait: float = 10.0  # seconds a request may wait for a slot
    max_body: int = 32 * 1024**2  # bytes of a request body; 0: unlimited
    protocol: Literal["http1", "h2c"] = "http1"  # what its instances speak
    session_affinity: bool = False  # a client's requests to the same instance, best effort
    refusal: str = ""  # why no instance will come now: told to those who wait in vain


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a service's traffic."""

    revision: str
    percent: int
    tag: str = ""


class ServiceRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A service's name and where its requests go."""

    name: str
    splits: tuple[Split, ...]


class InstanceRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A ready instance."""

    id: str
    revision: str
    host: str
    port: int


# From the node to a worker.


class Routes(msgspec.Struct, frozen=True, kw_only=True, tag="routes"):
    """The whole routing table; replaces the one before."""

    services: tuple[ServiceRoute, ...]
    revisions: tuple[RevisionRoute, ...]
    domains: tuple[str, ...] = ("localhost",)  # NAME.DOMAIN routes to the service NAME
    default_service: str = ""  # serves hosts that match none
    workers: int = 1  # that share targets and queues, each an equal part


class InstanceReady(msgspec.Struct, frozen=True, tag="instance_ready"):
    """It may get requests, as many at once as slots are leased to the worker."""

    instance: InstanceRoute


class Grant(msgspec.Struct, frozen=True, tag="grant"):
    """So many more slots of an instance are leased to the worker."""

    instance: str
    slots: int


class Recall(msgspec.Struct, frozen=True, kw_only=True, tag="recall"):
    """Give back so many slots more of a revision: another worker's requests wait.

    Those that are free at once, in the answer; the others when they are and nobody waits for them
    here, but the first `ahead` of them in any case.
    """

    revision: str
    slots: int
    ahead: int = 0


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """Answer so many of those that began to wait last with 429: no slot will be theirs."""

    revision: str
    requests: int


class InstanceDraining(msgspec.Struct, frozen=True, tag="instance_draining"):
    """Give it no new request; answer InstanceDrained when it has none."""

    instance: str


class InstanceUnready(msgspec.Struct, frozen=True, tag="instance_unready"):
    """Give it no new request until InstanceReady names it again; those it has go on."""

    instance: str


class Thaw(msgspec.Struct, frozen=True):
    """What lets a frozen instance run on: this, written into this file."""

    file: str
    value: str


class InstanceRest(msgspec.Struct, frozen=True, kw_only=True, tag="instance_rest"):
    """It may be frozen: if nothing is in flight there, give it no new request. Answer
    InstanceRested either way.

    From then on it must be let alone until InstanceReady or InstanceFrozen names it, or the link is
    lost: the node may be freezing it.
    """

    instance: str
    round: int  # of its rests; the answer names it
    thaw: Thaw


class InstanceFrozen(msgspec.Struct, frozen=True, tag="instance_frozen"):
    """It is frozen now: thaw it before it gets a request, and say InstanceWoken."""

    instance: str


class InstanceGone(msgspec.Struct, frozen=True, tag="instance_gone"):
    """It has ended: forget it; requests in flight there fail with 502 and this reason."""

    instance: str
    reason: str = ""


class StartFailed(msgspec.Struct, frozen=True, tag="start_failed"):
    """No instance comes up: answer those queued for the revision with 503 and this reason."""

    revision: str
    reason: str


class Acknowledge(msgspec.Struct, frozen=True, tag="acknowledge"):
    """Reports up to this sequence number are in the ledger: the worker may forget them."""

    sequence: int


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Accept no new connection, finish what is under way within `grace` seconds, report, end.

    `patient`: another worker has taken over, there is time. A connection on which nothing is under
    way is not closed, since its next request may be on its way: that one is the last.
    """

    grace: float
    patient: bool = False


ToWorker = (
    Routes
    | InstanceReady
    | InstanceUnready
    | InstanceRest
    | InstanceFrozen
    | Grant
    | Recall
    | Refuse
    | InstanceDraining
    | InstanceGone
    | StartFailed
    | Acknowledge
    | Drain
)


# From a worker to the node.


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """First word of a worker, also after it lost the link and came back."""

    worker: str  # same name for as long as the process lives
    pid: int
    slots: dict[str, int] = {}  # those leased to it, by instance it still knows from before
    aside: tuple[str, ...] = ()  # instances that get no request from it for a while
    draining: bool = False  # it accepts no connection any more


class Starved(msgspec.Struct, frozen=True, kw_only=True, tag="starved"):
    """Requests wait for a revision and no slot is free: said at once, and again as more wait.

    Never more than once per turn of the event loop.
    """

    revision: str
    queued: int
    in_flight: int
    granted: int = 0  # slots that the worker heard of since its Hello


class Returned(msgspec.Struct, frozen=True, kw_only=True, tag="returned"):
    """Slots of a revision that are the worker's no more; `answer`: the first word to a Recall."""

    revision: str
    slots: tuple[tuple[str, int], ...]  # (instance, slots)
    queued: int  # now
    in_flight: int  # now
    granted: int  # as in Starved
    answer: bool = False


class InstanceAside(msgspec.Struct, frozen=True, tag="instance_aside"):
    """It fails, so it gets no request from this worker for a while; or it does again."""

    instance: str
    aside: bool


class InstanceDrained(msgspec.Struct, frozen=True, tag="instance_drained"):
    """Nothing is in flight there and nothing will be: it may be stopped."""

    instance: str


class InstanceRested(msgspec.Struct, frozen=True, kw_only=True, tag="instance_rested"):
    """Answers InstanceRest: nothing is in flight there and nothing will be, or it is in use."""

    instance: str
    round: int
    at_rest: bool


class InstanceWoken(msgspec.Struct, frozen=True, tag="instance_woken"):
    """A request came for a frozen instance: it was thawed here, and serves."""

    instance: str


class InstanceUnreachable(msgspec.Struct, frozen=True, tag="instance_unreachable"):
    """Connecting failed `failures` times in a row."""

    instance: str
    failures: int
    reason: str


class InstanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance did since the report before."""

    id: str
    in_flight: int
    requests: int  # requests that ended
    busy: tuple[tuple[int, int], ...]  # closed stretches [begin, end) with in-flight > 0, in order
    busy_since: int | None  # begin of the stretch that is still open
    invocation_milliseconds: (
        int  # sum over ended requests of their durations, each rounded up to 1 ms
    )
    first_duration: int = 0  # ns of the first request that ever ended there through this worker


class RevisionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a revision's requests since the report before."""

    name: str
    in_flight: int  # now
    queued: int  # now
    demand: int  # integral of (in flight + queued) over time, request-nanoseconds
    packed: int  # integral of ceil(in flight / shadow_concurrency), instance-nanoseconds
    responses: tuple[tuple[int, int], ...]  # (status code, count), as the client saw them
    latency: tuple[tuple[int, int], ...]  # (bucket of stats.LATENCY_BUCKETS, count)
    latency_sum: int  # ns
    cold_starts: tuple[int, ...]  # ns that each request that met a cold start waited
    max_in_flight: int


class Quiet(msgspec.Struct, frozen=True, tag="quiet"):
    """Sent instead of a report that would say nothing, so that the node knows up to when it knows
    all."""

    end: int  # ns


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """Sent every report interval while something changed; kept until acknowledged, so that none is
    lost and none counted twice when the node is restarted."""

    worker: str
    sequence: int
    begin: int  # ns; the stretch of time the report covers
    end: int
    revisions: tuple[RevisionReport, ...]
    instances: tuple[InstanceReport, ...]


ToNode = (
    Hello
    | Starved
    | Returned
    | InstanceAside
    | InstanceDrained
    | InstanceRested
    | InstanceWoken
    | InstanceUnreachable
    | Quiet
    | Report
)

# Environment of a worker: the descriptors of the listening sockets that it inherits. It hands them
# over with the first bytes of each link (SCM_RIGHTS), so that a new node has them, too.
LISTENERS = "WINDLASS_LISTENERS"
MAX_MESSAGE = 64 * 1024**2  # bytes; a longer length is a broken peer, not a message
_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_node: msgspec.msgpack.Decoder[ToNode] = msgspec.msgpack.Decoder(ToNode)


def encode(message: ToWorker | ToNode) -> bytes:
    """Return the message with its length before it."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read_for_worker(reader: asyncio.StreamReader) -> ToWorker:
    """Read one message of the node.

    Raises:
        asyncio.IncompleteReadError: the link is closed.
        msgspec.DecodeError: not a message.
    """
    return _to_worker.decode(await _read(reader))


async def read_for_node(reader: asyncio.StreamReader) -> ToNode:
    """Read one message of a worker; raises as `read_for_worker`."""
    return _to_node.decode(await _read(reader))


async def _read(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_MESSAGE:
        raise msgspec.DecodeError(f"a message of {length} bytes is over the limit of {MAX_MESSAGE}")
    return await reader.readexactly(length)
