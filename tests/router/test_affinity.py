"""A client's requests go to the instance that its cookie names, as far as there is room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from windlass.router.affinity import Affinity

if TYPE_CHECKING:
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def cookie(head: bytes) -> str:
    return head.partition(b"Set-Cookie: ")[2].partition(b";")[0].decode()


async def prepared(rig: Rig) -> None:
    """Have two instances with one slot each, and affinity."""
    pool = rig.worker.dispatch.pools["hello-00001"]
    rig.origin.answers("/", OK)
    rig.route(session_affinity=True)
    rig.ready("hello-00001-b")
    await rig.settled(2)
    await rig.until(lambda: pool.route.session_affinity)


async def test_a_cookie_brings_the_client_back_to_its_instance(rig: Rig) -> None:
    await prepared(rig)
    affinity = rig.worker.dispatch.affinity
    for name in ("hello-00001-a", "hello-00001-b", "hello-00001-a"):
        asked = affinity.set_cookie(name).decode().partition(": ")[2].partition(";")[0]
        client = await rig.client()
        client.get("/", f"Cookie: x=1; {asked}; y=2")
        head = await client.head()
        await client.exactly(5)
        assert b"Set-Cookie" not in head  # it has the right one
        client.close()


async def test_a_client_without_a_cookie_is_given_one(rig: Rig) -> None:
    await prepared(rig)
    client = await rig.client()
    client.get("/")
    head = await client.head()
    assert b"; Path=/; HttpOnly; SameSite=Lax\r\n" in head
    named = rig.worker.dispatch.affinity.instance(b"Cookie: %b\r\n" % cookie(head).encode())
    assert named in ("hello-00001-a", "hello-00001-b")


async def test_a_full_instance_is_not_given_more(rig: Rig) -> None:
    release = asyncio.Event()

    async def wait(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await release.wait()
        writer.write(OK)
        return True

    await prepared(rig)
    rig.origin.handlers[b"/wait"] = wait
    pool = rig.worker.dispatch.pools["hello-00001"]
    asked = rig.worker.dispatch.affinity.set_cookie("hello-00001-b").decode()
    asked = asked.partition(": ")[2].partition(";")[0]
    clients = [await rig.client() for _ in range(100)]
    for client in clients:
        client.get("/wait", f"Cookie: {asked}")
    await rig.until(lambda: rig.in_flight() == 100)
    assert pool.instances["hello-00001-b"].in_flight == 80
    assert pool.instances["hello-00001-a"].in_flight == 20
    release.set()
    moved = 0
    for client in clients:
        moved += b"Set-Cookie" in await client.head()
    assert moved == 20


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=60))
def test_only_our_own_cookies_are_believed(name: str) -> None:
    ours, other = Affinity(b"a" * 32), Affinity(b"b" * 32)
    value = cookie(ours.set_cookie(name)).encode()
    assert ours.instance(b"Cookie: %b\r\n" % value) == name
    assert ours.instance(b"Accept: a\r\ncookie: a=b; %b\r\nB: c\r\n" % value) == name
    assert other.instance(b"Cookie: %b\r\n" % value) == ""
    assert ours.instance(b"Cookie: %bx\r\n" % value) == ""
    assert ours.instance(b"X-Cookie: %b\r\n" % value) == ""
