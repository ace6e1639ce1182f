"""Bytes in, bytes out: client and upstream connections on transports in memory."""

from __future__ import annotations

import asyncio
import re
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from windlass.router import link
from windlass.router.dispatch import Dispatch
from windlass.router.http1 import ClientConnection
from windlass.router.upstream import UpstreamConnection

if TYPE_CHECKING:
    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange
    from windlass.router.pool import Pool

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class MemoryTransport:
    """Remembers what is written and whether it is closed or paused."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.paused = False
        self.unread = 0

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the close"
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 80) if name.endswith("name") else None

    def get_write_buffer_size(self) -> int:
        return self.unread


class SilentVoice:
    def starved(self, pool: Pool[Endpoint, Exchange]) -> None: ...

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None: ...

    def aside(self, instance: str, *, aside: bool) -> None: ...

    def drained(self, instance: str) -> None: ...

    def rested(self, instance: str, number: int, *, at_rest: bool) -> None: ...

    def woken(self, instance: str) -> None: ...

    def unreachable(self, instance: str, failures: int, reason: str) -> None: ...


class Wire:
    """One client connection and one upstream connection of the same worker."""

    def __init__(self) -> None:
        dispatch = Dispatch(SilentVoice())
        service = link.ServiceRoute(name="hello", splits=(link.Split(revision="r", percent=100),))
        revision = link.RevisionRoute(name="r", service="hello", concurrency=1)
        dispatch.apply_routes(
            link.Routes(services=(service,), revisions=(revision,), default_service="hello"), 0
        )
        route = link.InstanceRoute(id="a", revision="r", host="127.0.0.1", port=1)
        dispatch.add_instance(link.InstanceReady(route), 0)
        dispatch.lease(link.Grant("a", 1), 0)
        self.pool = dispatch.pools["r"]
        self.endpoint = self.pool.instances["a"]
        self.upstream = UpstreamConnection(self.endpoint)
        self.to_instance = MemoryTransport()
        self.upstream.connection_made(cast("asyncio.BaseTransport", self.to_instance))
        self.endpoint.idle.append(self.upstream)
        self.upstream.idle_since = monotonic_ns()
        self.client = ClientConnection(dispatch)
        self.to_client = MemoryTransport()
        self.client.connection_made(cast("asyncio.BaseTransport", self.to_client))

    def send(self, data: bytes) -> None:
        self.client.data_received(data)

    def answer(self, data: bytes = ANSWER) -> None:
        self.upstream.data_received(data)


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def test_a_plain_request_is_one_write_each_way() -> None:
    wire = Wire()
    writes: list[bytes] = []
    cast("Any", wire.to_client).write = writes.append
    wire.send(get("/"))
    assert wire.to_instance.written.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert wire.to_instance.written.endswith(b"\r\n\r\n")
    wire.answer()
    assert writes == [ANSWER]


def test_the_same_fields_are_read_once_and_others_anew() -> None:
    wire = Wire()
    for path, fields in (("/1", ["A: 1"]), ("/2", ["A: 1"]), ("/3", ["A: 2"]), ("/4", [])):
        wire.to_instance.written = b""
        wire.send(get(path, *fields))
        head = wire.to_instance.written
        assert head.startswith(f"GET {path} HTTP/1.1\r\n".encode())
        assert re.findall(rb"\r\nA: (\d)", head) == [field[-1:].encode() for field in fields]
        wire.answer()


def test_a_request_like_the_one_before_it_is_sent_as_that_was() -> None:
    wire = Wire()
    plain, other = get("/", "A: 1"), get("/other")
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    for request in (plain, plain, other, other, plain, post, post, plain, plain):
        wire.to_instance.written = b""
        wire.send(request)
        start, end = request.split(b"\r\n")[0], request.split(b"\r\n\r\n")[1]
        assert wire.to_instance.written.startswith(start + b"\r\nHost: a\r\n")
        assert wire.to_instance.written.endswith(b"\r\n\r\n" + end)
        assert (b"\r\nA: 1\r\n" in wire.to_instance.written) == (b"A: 1" in request)
        wire.answer()
    assert wire.to_client.written == ANSWER * 9


def test_a_pipelined_request_waits_for_the_answer_before_it() -> None:
    wire = Wire()
    wire.send(get("/1") + get("/2"))
    assert b"/2" not in wire.to_instance.written
    wire.answer()
    assert b"GET /2 " in wire.to_instance.written
    wire.answer()
    assert wire.to_client.written == ANSWER * 2


def test_too_much_pipelined_is_not_read() -> None:
    wire = Wire()
    wire.send(get("/1"))
    wire.send(get("/2") * 3000)
    assert wire.to_client.paused
    for _ in range(3000):
        wire.answer()
    assert not wire.to_client.paused


def test_a_client_that_does_not_read_gets_no_further_answer_made() -> None:
    wire = Wire()
    wire.client.pause_writing()
    wire.send(get("/1"))
    wire.answer()
    assert wire.to_client.paused
    wire.client.resume_writing()
    assert not wire.to_client.paused
    wire.send(get("/2"))
    wire.answer()
    assert wire.to_client.written == ANSWER * 2


def test_a_client_that_does_not_keep_up_pauses_its_upstream_until_it_does() -> None:
    wire = Wire()
    wire.send(get("/"))
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    wire.client.pause_writing()
    assert wire.to_instance.paused
    wire.client.resume_writing()
    assert not wire.to_instance.paused


def test_an_instance_that_does_not_keep_up_pauses_its_client_until_it_does() -> None:
    wire = Wire()
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    wire.upstream.pause_writing()
    assert wire.to_client.paused
    wire.upstream.resume_writing()
    assert not wire.to_client.paused


def test_an_early_answer_ends_the_connection_since_the_body_is_unread() -> None:
    wire = Wire()
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    wire.answer()
    assert b"Connection: close\r\n" in wire.to_client.written
    assert wire.to_client.closed
    assert wire.to_instance.closed
    assert wire.pool.counts.in_flight == 0


PARTS = [
    *(b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"Host: a\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, x\r\n", b"Expect: 100-continue\r\n"),
    *(b"Upgrade: a\r\nConnection: upgrade\r\n", b"\r\n", b"\r", b"\n", b" ", b"5\r\nhello\r\n"),
    *(b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"hello", b"\x00", b"A: b\r\n"),
]
ANSWERS = [
    ANSWER,
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"1\r\na\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"junk",
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("client"), st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join)),
        st.tuples(st.just("client"), st.binary(max_size=20)),
        st.tuples(st.just("instance"), st.sampled_from(ANSWERS)),
    ),
    max_size=12,
)


@given(STEPS)
@example([("client", get("/") + get("/2")), ("instance", ANSWER), ("instance", ANSWER)])
def test_whatever_both_sides_send_nothing_crashes_and_the_slot_comes_free(
    steps: list[tuple[str, bytes]],
) -> None:
    async def play() -> None:
        wire = Wire()
        for side, data in steps:
            if side == "client" and not wire.to_client.closed:
                wire.send(data)
            elif side == "instance" and not wire.to_instance.closed:
                wire.answer(data)
            assert wire.pool.counts.in_flight <= 1
        wire.client.connection_lost(None)
        wire.upstream.connection_lost(None)
        assert wire.endpoint.in_flight == wire.pool.counts.in_flight == 0
        assert wire.pool.counts.queued == 0
        assert not wire.endpoint.connecting

    asyncio.run(play())


def test_pipelined_requests_with_bodies_are_told_apart() -> None:
    wire = Wire()
    chunked = (
        b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    )
    counted = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\ncd"
    wire.send(b"".join(chunked % n + counted % (n + 1) for n in range(0, 20, 2)) + get("/20"))
    for n in range(21):
        assert wire.to_instance.written.startswith(b"%s /%d " % (b"GET" if n == 20 else b"POST", n))
        body = [b"2\r\nab\r\n0\r\n\r\n", b"\r\ncd"][n % 2] if n < 20 else b"\r\n\r\n"
        assert wire.to_instance.written.endswith(body)
        wire.to_instance.written = b""
        wire.answer()
    assert wire.to_client.written == ANSWER * 21
