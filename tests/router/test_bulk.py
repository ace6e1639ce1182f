"""Large bodies, which pass within the kernel: whole, in their order, held back, and cut short."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, cast

import pytest

from windlass.router.bulk import FIRST, Pipe
from windlass.router.stall import FIRST_UNSENT, MAX_UNSENT, unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.router.conftest import Rig

    from windlass.router.http1 import ClientConnection

SIZE = 5 * 1024**2 + 12345
BODY = os.urandom(SIZE)


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the bytes of each splice."""
    found: list[int] = []
    splice = cast("Callable[..., int]", os.splice)

    def noted(*arguments: int, flags: int) -> int:
        count = splice(*arguments, flags=flags)
        found.append(count)
        return count

    monkeypatch.setattr(os, "splice", noted)
    return found


def echo(rig: Rig) -> None:
    async def handler(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        body = await reader.readexactly(SIZE)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        writer.write(body)
        await writer.drain()
        return True

    rig.origin.handlers[b"/echo"] = handler
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


POST = b"POST /echo HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: %d\r\n\r\n" % SIZE


async def test_large_bodies_pass_whole_and_the_connections_are_used_again(
    rig: Rig, spliced: list[int]
) -> None:
    echo(rig)
    client = await rig.client()
    for _ in range(3):
        client.send(POST + BODY)
        client.get("/")  # comes right behind the body
        assert await client.response() == (200, BODY)
        assert await client.response() == (200, b"ok")
    assert rig.origin.connections == 1
    assert sum(spliced) > 6 * SIZE  # each byte twice: into the pipe and out of it
    await rig.free()


async def test_a_client_that_reads_late_gets_all_of_it(rig: Rig) -> None:
    echo(rig)
    client = await rig.client()
    client.send(POST + BODY)
    await client.head()
    cast("asyncio.Transport", client.writer.transport).pause_reading()
    await asyncio.sleep(0.2)
    cast("asyncio.Transport", client.writer.transport).resume_reading()
    assert await client.exactly(SIZE) == BODY
    await rig.free()


def lowat(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)


async def test_little_is_kept_for_a_client_that_reads_slowly_until_it_has_caught_up(
    rig: Rig,
) -> None:
    rig.origin.answers("/big", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY)
    other = await rig.client()
    other.get("/big")  # the instance is known for large bodies from now on
    await other.response()
    before = set(rig.worker.dispatch.clients)
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", rig.port))
        await rig.until(lambda: len(rig.worker.dispatch.clients) > len(before))
        (slow,) = cast("set[ClientConnection]", rig.worker.dispatch.clients - before)
        transport = slow._transport
        await loop.sock_sendall(connection, b"GET /big HTTP/1.1\r\nHost: hello.localhost\r\n\r\n")
        await rig.until(lambda: transport.get_write_buffer_size() > 0)
        assert unread(transport) < 96 * 1024
        assert lowat(transport.get_extra_info("socket")) == FIRST_UNSENT
        got = bytearray()
        async with asyncio.timeout(20):
            while not got.endswith(BODY):
                got += await loop.sock_recv(connection, 1024**2)
        assert lowat(transport.get_extra_info("socket")) == MAX_UNSENT
    await rig.free()


async def test_a_large_body_that_is_expected_in_vain_is_expected_no_more(
    rig: Rig, spliced: list[int]
) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    big = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY
    rig.origin.answers("/big", big, keep=False)
    rig.origin.answers("/small", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", keep=False)
    (endpoint,) = rig.worker.dispatch.pools["hello-00001"].instances.values()
    client = await rig.client()
    for path, body in (("/big", BODY), ("/big", BODY), ("/small", b"ok"), ("/big", BODY)):
        spliced.clear()
        client.get(path)
        assert await client.response() == (200, body)
        assert endpoint.gives_bulk == bool(spliced) == (body is BODY)
        await rig.free()
        await rig.until(lambda: not endpoint.connections)
    client.get("/")
    assert await client.response() == (200, b"ok")
    await rig.free()


async def test_an_instance_that_reads_late_gets_all_of_it(rig: Rig) -> None:
    got = bytearray()

    async def handler(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        while len(got) < SIZE:
            await asyncio.sleep(0.001)
            got.extend(await reader.read(128 * 1024))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return True

    rig.origin.handlers[b"/echo"] = handler
    client = await rig.client()
    client.send(POST + BODY)
    assert await client.response() == (200, b"")
    assert got == BODY
    await rig.free()


async def test_a_client_that_leaves_in_the_middle_frees_its_slot(rig: Rig) -> None:
    echo(rig)
    client = await rig.client()
    client.send(POST + BODY[: SIZE // 2])
    await rig.until(lambda: bool(rig.origin.heads))
    client.close()
    await rig.free()


async def test_an_instance_that_ends_in_the_middle_breaks_the_answer_off(rig: Rig) -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY[: SIZE // 2]
    rig.origin.answers("/short", short, keep=False)
    client = await rig.client()
    client.get("/short")
    await client.head()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.exactly(SIZE)
    await rig.free()


async def test_small_bodies_and_chunks_are_read_as_ever(rig: Rig, spliced: list[int]) -> None:
    rig.origin.answers("/", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    chunk = b"%x\r\n" % SIZE + BODY + b"\r\n0\r\n\r\n"
    rig.origin.answers("/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    client = await rig.client()
    client.get("/")
    assert await client.response() == (200, b"ok")
    client.get("/chunks")
    await client.head()
    framed = b""
    while not framed.endswith(b"\r\n0\r\n\r\n"):
        async with asyncio.timeout(5):
            framed += await client.reader.read(SIZE)
    assert not spliced


class Outlet:
    """A transport in memory in front of a socket that takes little."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.kept = b""

    def get_extra_info(self, name: str) -> socket.socket:
        return self.end

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def write(self, data: bytes) -> None:
        self.kept += data


def test_what_the_outlet_does_not_take_is_left_to_its_transport() -> None:
    pipe = Pipe()
    source, sender = socket.socketpair()
    taker, far = socket.socketpair()
    for each in (source, sender, taker, far):
        each.setblocking(False)
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    outlet = Outlet(taker)
    sent = sender.send(BODY[: 128 * 1024])
    passed, piece = pipe.pass_on(source.fileno(), cast("asyncio.Transport", outlet), SIZE, 65536)
    assert piece == 0
    assert outlet.high == 0  # whoever reads for it is held back from now on
    arrived = far.recv(SIZE)
    assert 0 < len(arrived) < passed <= sent
    while len(arrived) + len(outlet.kept) < passed:
        arrived += far.recv(SIZE)
    assert arrived + outlet.kept == BODY[:passed]
    again, _ = pipe.pass_on(source.fileno(), cast("asyncio.Transport", outlet), SIZE, FIRST)
    assert again <= sent - passed
    for each in (source, sender, taker, far):
        each.close()


def test_nothing_of_one_body_can_come_before_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails: a pipe that is not empty is not used again."""
    pipe = Pipe()
    source, sender = socket.socketpair()
    sender.send(b"first")

    class Fails(Outlet):
        def write(self, data: bytes) -> None:
            raise AssertionError("nothing was read")

    def no_memory(descriptor: int, size: int) -> bytes:
        raise MemoryError

    closed, far = socket.socketpair()
    far.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "read", no_memory)
        with pytest.raises(MemoryError):
            pipe.pass_on(source.fileno(), cast("asyncio.Transport", Fails(closed)), SIZE, FIRST)
    sender.send(b"second")
    near, other = socket.socketpair()
    source.setblocking(False)
    passed, _ = pipe.pass_on(source.fileno(), cast("asyncio.Transport", Outlet(near)), SIZE, FIRST)
    assert passed == 6
    assert other.recv(100) == b"second"
    for each in (source, sender, closed, near, other):
        each.close()


def test_an_outlet_that_takes_all_gets_more_the_next_time(spliced: list[int]) -> None:
    pipe = Pipe()
    source, sender = socket.socketpair()
    taker, far = socket.socketpair()
    for each in (source, sender, taker, far):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024**2)
    assert sender.send(BODY[: 3 * FIRST]) == 3 * FIRST
    outlet = Outlet(taker)
    passed, piece = pipe.pass_on(source.fileno(), cast("asyncio.Transport", outlet), SIZE, FIRST)
    assert passed == 3 * FIRST
    assert piece > FIRST
    assert max(spliced[:2]) <= FIRST
    assert far.recv(SIZE) == BODY[: 3 * FIRST]
    assert not outlet.kept
    for each in (source, sender, taker, far):
        each.close()
