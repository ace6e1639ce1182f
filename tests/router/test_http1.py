"""HTTP/1 from a client through the worker to an instance, on real sockets."""

from __future__ import annotations

import asyncio
import json
import resource
from time import monotonic_ns
from typing import TYPE_CHECKING

import pytest

from windlass.router import http1, link, pace

if TYPE_CHECKING:
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def test_a_request_reaches_the_instance_and_its_answer_the_client(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    client.get("/?a=b", "X-Own: 1")
    assert await client.response() == (200, b"hello")
    head = rig.origin.heads[0]
    assert head.startswith(b"GET /?a=b HTTP/1.1\r\nHost: hello.localhost\r\n")
    assert b"\r\nX-Own: 1\r\n" in head
    assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in head


async def test_both_connections_are_kept(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    for _ in range(3):
        client.get("/")
        assert await client.response() == (200, b"hello")
    assert rig.origin.connections == 1


async def test_the_fields_of_another_client_count_only_for_the_same_address(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    dispatch = rig.worker.dispatch
    known = []
    for address in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", rig.port, local_addr=(address, 0)
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nX-Own: 1\r\n\r\n")
        await reader.readuntil(b"hello")
        writer.close()
        assert b"\r\nX-Forwarded-For: %b\r\n" % address.encode() in rig.origin.heads[-1]
        known.append(dispatch.known_fields)
    assert known[0] is known[1]  # not read again
    assert known[2] is not known[1]
    client = await rig.client()
    client.get("/", "X-Own: 2")
    assert await client.response() == (200, b"hello")
    assert b"\r\nX-Own: 2\r\n" in rig.origin.heads[-1]


async def test_pipelined_requests_are_answered_in_their_order(rig: Rig) -> None:
    for n in range(5):
        rig.origin.answers(f"/{n}", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)
    client = await rig.client()
    for n in (3, 1, 4, 0, 2):
        client.get(f"/{n}")
    assert [await client.response() for _ in range(5)] == [
        (200, b"%d" % n) for n in (3, 1, 4, 0, 2)
    ]


async def test_a_thousand_pipelined_requests_to_nobody_are_all_refused(rig: Rig) -> None:
    client = await rig.client()
    for _ in range(1000):
        client.get("/", host="nobody.localhost")
    for _ in range(1000):
        status, _ = await client.response()
        assert status == 404


async def test_a_head_may_come_byte_by_byte(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    for byte in b"\r\nGET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n":
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await client.response() == (200, b"hello")


async def echo(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer with the raw bytes of the body: up to its Content-Length, or to its last chunk."""
    if b"chunked" in head:
        body = await reader.readuntil(b"\r\n\r\n")
        while not (body.startswith(b"0\r\n") or b"\r\n0\r\n" in body):
            body += await reader.readuntil(b"\r\n\r\n")
    else:
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return True


async def test_a_body_with_a_length_is_passed_on(rig: Rig) -> None:
    rig.origin.handlers[b"/echo"] = echo
    client = await rig.client()
    client.send(b"POST /echo HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 10\r\n\r\n01234")
    await asyncio.sleep(0.01)
    client.send(b"56789")
    assert await client.response() == (200, b"0123456789")


async def test_a_chunked_body_and_its_trailers_are_passed_on_without_extensions(rig: Rig) -> None:
    rig.origin.handlers[b"/echo"] = echo
    client = await rig.client()
    client.send(
        b"POST /echo HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;name=value\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n"
    )
    assert await client.response() == (200, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")


async def test_a_chunked_answer_and_its_trailers_are_passed_on(rig: Rig) -> None:
    rig.origin.answers(
        "/", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    )
    client = await rig.client()
    for _ in range(2):
        client.get("/")
        assert b"Transfer-Encoding: chunked\r\n" in await client.head()
        assert await client.until(b"X: 1\r\n\r\n") == b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    assert rig.origin.connections == 1


async def test_http_1_0_gets_a_chunked_answer_whole_and_closed(rig: Rig) -> None:
    rig.origin.answers(
        "/", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    client = await rig.client()
    client.send(b"GET / HTTP/1.0\r\nHost: hello.localhost\r\nConnection: keep-alive\r\n\r\n")
    assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"


async def test_http_1_0_is_kept_alive_when_it_asks_for_it(rig: Rig) -> None:
    rig.origin.answers("/", OK)
    client = await rig.client()
    for _ in range(2):
        client.send(b"GET / HTTP/1.0\r\nHost: hello.localhost\r\nConnection: keep-alive\r\n\r\n")
        assert b"Connection: keep-alive\r\n" in await client.head()
        assert await client.exactly(5) == b"hello"


async def test_an_answer_that_ends_with_its_connection_is_sent_in_chunks(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\n\r\nhello", keep=False)
    client = await rig.client()
    client.get("/")
    await client.head()
    assert await client.until(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"


async def test_the_client_is_told_to_go_on_with_its_body_by_the_instance(rig: Rig) -> None:
    async def expecting(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        assert b"Expect: 100-continue\r\n" in head
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await echo(head, reader, writer)

    rig.origin.handlers[b"/"] = expecting
    client = await rig.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 2\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"ab")
    assert await client.response() == (200, b"ab")


async def test_early_hints_are_passed_on(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    client = await rig.client()
    client.get("/")
    assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert await client.response() == (200, b"hello")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_keep_both_connections(
    rig: Rig, method: bytes, answer: bytes
) -> None:
    rig.origin.answers("/", answer)
    client = await rig.client()
    for _ in range(2):
        client.send(method + b" / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n")
        assert await client.head() == answer
    assert rig.origin.connections == 1


async def hang(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.read()
    return False


async def test_a_client_that_goes_away_frees_its_slot_and_ends_its_upstream(rig: Rig) -> None:
    rig.origin.handlers[b"/"] = hang
    client = await rig.client()
    client.get("/")
    await rig.until(lambda: bool(rig.origin.heads))
    assert rig.in_flight() == 1
    client.close()
    async with asyncio.timeout(5):
        await rig.origin.gone.acquire()
    await rig.free()


async def test_a_client_that_goes_away_while_it_waits_leaves_the_queue(rig: Rig) -> None:
    rig.node.say(link.InstanceDraining("hello-00001-a"))
    await rig.node.hears(link.InstanceDrained)
    client = await rig.client()
    client.get("/")
    await rig.node.hears(link.Starved)
    assert rig.queued() == 1
    client.close()
    await rig.free()


async def test_a_slow_reader_holds_back_its_upstream(rig: Rig) -> None:
    size = 64 * 1024**2
    sent = 0

    async def big(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
        return True

    rig.origin.handlers[b"/big"] = big
    rig.origin.answers("/", OK)
    slow = await rig.client()
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a ReadTransport's
    slow.get("/big")
    last = -1
    async with asyncio.timeout(10):
        while sent != last or not sent:  # until it is stuck
            last = sent
            await asyncio.sleep(0.1)
    assert sent < size // 2
    other = await rig.client()
    other.get("/")
    assert await other.response() == (200, b"hello")
    slow.close()
    await rig.free()


@pytest.mark.slow
async def test_64_mib_each_way_in_bounded_memory(rig: Rig) -> None:
    size = 64 * 1024**2

    async def both(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        left = size
        while left:
            left -= len(await reader.read(min(left, 262144)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 262144):
            writer.write(bytes(262144))
            await writer.drain()
        return True

    rig.origin.handlers[b"/"] = both
    rig.route(max_body=0)
    client = await rig.client()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client.send(b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // 262144):
        client.send(bytes(262144))
        await client.writer.drain()
    await client.head()
    left = size
    async with asyncio.timeout(30):
        while left:
            left -= len(await client.reader.read(262144))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


async def test_requests_beyond_the_concurrency_wait_and_are_served(rig: Rig) -> None:
    rig.route()
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    at_once = most = 0
    full = asyncio.Event()

    async def counting(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 160:
            full.set()  # each slot of both instances is used
        await full.wait()
        at_once -= 1
        writer.write(OK)
        return True

    rig.origin.handlers[b"/"] = counting
    clients = [await rig.client() for _ in range(200)]
    for client in clients:
        client.get("/")
    starved = await rig.node.hears(link.Starved)
    assert starved.revision == "hello-00001"
    rig.ready("hello-00001-b")
    rig.ready("hello-00001-c")
    for client in clients:
        assert await client.response() == (200, b"hello")
    assert most == 160


def problem(body: bytes) -> tuple[str, str]:
    """Return kind and service of a problem, checking its form."""
    value = json.loads(body)
    assert set(value) == {"type", "title", "status", "detail", "service"}
    assert value["detail"]
    return value["type"].removeprefix("urn:windlass:problem:"), value["service"]


@pytest.mark.parametrize(
    ("request_bytes", "status", "kind"),
    [
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "request-line-too-long"),
        (b"GET /" + b"a" * 9000, 414, "request-line-too-long"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: " + b"b" * 33000 + b"\r\n\r\n",
            431,
            "header-section-too-large",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: " + b"b" * 33000, 431, "header-section-too-large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431, "too-many-fields"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bad-request"),
        (
            b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 99999999\r\n\r\n",
            413,
            "body-too-large",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
            400,
            "bad-request",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", 417, "unknown-expectation"),
    ],
)
async def test_each_limit_has_its_status_and_closes(
    rig: Rig, request_bytes: bytes, status: int, kind: str
) -> None:
    rig.origin.handlers[b"/"] = hang
    client = await rig.client()
    client.send(request_bytes)
    answered, body = await client.response()
    assert (answered, problem(body)[0]) == (status, kind)
    assert await client.rest() == b""


async def test_a_chunked_body_over_the_limit_is_refused_when_it_passes_it(rig: Rig) -> None:
    rig.route(max_body=1000)
    rig.origin.handlers[b"/"] = hang
    client = await rig.client()
    client.send(
        b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"258\r\n" + bytes(600) + b"\r\n"
    )
    await asyncio.sleep(0.02)
    client.send(b"258\r\n" + bytes(600) + b"\r\n")
    status, body = await client.response()
    assert (status, problem(body)) == (413, ("body-too-large", "hello"))


async def test_a_request_over_its_time_gets_504(rig: Rig) -> None:
    rig.route(timeout=0.05)
    rig.origin.handlers[b"/"] = hang
    client = await rig.client()
    client.get("/")
    status, body = await client.response()
    assert (status, problem(body)) == (504, ("request-timeout", "hello"))
    await rig.free()


async def test_an_answer_over_its_time_is_broken_off(rig: Rig) -> None:
    rig.route(timeout=0.05)
    rig.origin.handlers[b"/"] = hang_in_body
    client = await rig.client()
    client.get("/")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.exactly(1000)


async def hang_in_body(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc")
    return await hang(head, reader, writer)


async def test_a_slow_head_gets_408(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "HEAD_TIME", 1)
    client = await rig.client()
    client.send(b"GET / HT")
    status, body = await client.response()
    assert (status, problem(body)[0]) == (408, "head-timeout")


async def test_an_idle_connection_is_closed_in_silence(rig: Rig) -> None:
    client = await rig.client()
    clients = rig.worker.dispatch.clients
    await rig.until(lambda: len(clients) == 1)
    (connection,) = clients
    assert 0 < connection.deadline - monotonic_ns() <= pace.IDLE_TIME
    connection.deadline = 1
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.exactly(1)


async def test_a_wait_without_a_slot_ends_with_429(rig: Rig) -> None:
    rig.route(queue_wait=0.05)
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await rig.client()
    client.get("/")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in head


async def test_a_failed_start_answers_those_who_wait_with_503(rig: Rig) -> None:
    rig.node.say(link.InstanceGone("hello-00001-a"))
    await rig.settled(0)
    client = await rig.client()
    client.get("/")
    await rig.node.hears(link.Starved)
    rig.node.say(link.StartFailed("hello-00001", "exit status 1"))
    status, body = await client.response()
    assert (status, problem(body)) == (503, ("start-failed", "hello"))
    assert b"exit status 1" in body


async def test_a_tunnel_passes_bytes_both_ways_until_one_side_ends(rig: Rig) -> None:
    async def switching(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        assert b"Upgrade: chat\r\nConnection: Upgrade\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n")
        writer.write(b"Upgrade: chat\r\n\r\nwelcome")
        while data := await reader.read(100):
            writer.write(data.upper())
            if data == b"bye":
                return False
        return False

    rig.origin.handlers[b"/"] = switching
    client = await rig.client()
    client.get("/", "Connection: Upgrade", "Upgrade: chat")
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert await client.exactly(7) == b"welcome"
    client.send(b"abc")
    assert await client.exactly(3) == b"ABC"
    assert rig.in_flight() == 1
    client.send(b"bye")
    assert await client.rest() == b"BYE"
    await rig.free()


async def test_a_switch_that_nobody_asked_for_is_a_bad_answer(rig: Rig) -> None:
    rig.origin.answers("/", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
    client = await rig.client()
    client.get("/")
    status, body = await client.response()
    assert (status, problem(body)) == (502, ("bad-response", "hello"))
