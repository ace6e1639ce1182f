"""Listening sockets: one for each place, from one process and node to the next."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from windlass.deploy.listening import Listening, handed_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TWO = ("worker-1", "worker-2")


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    listening = Listening("127.0.0.1", 0)
    await listening.open(TWO)
    yield listening
    listening.close()


def copies(listening: Listening, place: str) -> list[socket.socket]:
    """Return a place's sockets as they come from another process."""
    return [socket.socket(fileno=os.dup(each.fileno())) for each in listening.of(place)]


def inodes(listening: Listening, place: str) -> list[int]:
    return [os.fstat(each.fileno()).st_ino for each in listening.of(place)]


async def test_each_place_has_a_socket_of_its_own_on_the_same_port(listening: Listening) -> None:
    assert inodes(listening, TWO[0]) != inodes(listening, TWO[1])
    for place in TWO:
        [bound] = listening.of(place)
        assert bound.getsockname() == ("127.0.0.1", listening.port)


async def test_a_port_on_which_another_platform_shares_is_taken(listening: Listening) -> None:
    second = Listening("127.0.0.1", listening.port)
    with pytest.raises(OSError, match="in use") as caught:
        await second.open(TWO)
    assert caught.value.errno == errno.EADDRINUSE


async def test_the_next_node_listens_on_what_workers_hand_over(listening: Listening) -> None:
    following = Listening("127.0.0.1", listening.port)
    for place in TWO:
        following.take_over(place, copies(listening, place))
    await following.open(TWO)
    with closing(following):
        for place in TWO:
            assert inodes(following, place) == inodes(listening, place)


async def test_a_worker_that_drains_and_has_no_socket_any_more_hides_none(
    listening: Listening,
) -> None:
    following = Listening("127.0.0.1", listening.port)
    following.take_over(TWO[0], [])
    following.take_over(TWO[0], copies(listening, TWO[0]))
    await following.open(TWO[:1])
    with closing(following):
        assert inodes(following, TWO[0]) == inodes(listening, TWO[0])


async def test_what_comes_twice_or_too_late_or_for_no_place_is_closed(
    listening: Listening,
) -> None:
    following = Listening("127.0.0.1", listening.port)
    following.take_over(TWO[0], copies(listening, TWO[0]))
    twice, none, late = (copies(listening, place) for place in (TWO[0], TWO[1], TWO[1]))
    following.take_over(TWO[0], twice)
    following.take_over(TWO[1], none)
    await following.open([TWO[0], "worker-3"])
    following.take_over(TWO[1], late)
    with closing(following):
        assert [each.fileno() for each in (*twice, *none, *late)] == [-1, -1, -1]
        assert len({*inodes(following, TWO[0]), *inodes(following, "worker-3")}) == 2


async def test_sockets_of_another_address_are_not_taken_over(listening: Listening) -> None:
    elsewhere = Listening("127.0.0.1", 0)
    foreign = copies(listening, TWO[0])
    elsewhere.take_over(TWO[0], foreign)
    await elsewhere.open(TWO)
    with closing(elsewhere):
        assert [each.fileno() for each in foreign] == [-1]
        assert elsewhere.port != listening.port


async def test_descriptors_come_with_the_first_bytes_and_leave_them(listening: Listening) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        socket.send_fds(ours, [b"hello"], [each.fileno() for each in listening.of(TWO[0])])
        [came] = await asyncio.wait_for(handed_over(theirs), 5)
        with came:
            assert came.getsockname()[1] == listening.port
            assert not came.get_inheritable()
        assert theirs.recv(100) == b"hello"


async def test_bytes_without_descriptors_and_a_closed_link_bring_none() -> None:
    for said in (b"hello", b""):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            ours.send(said)
            ours.close()
            assert await asyncio.wait_for(handed_over(theirs), 5) == []
