"""The sockets on which services are called: one for each worker place, all on the same port.

The node binds them and every process of a place inherits the place's: so a connection that waits
to be accepted outlives the process that would have accepted it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BACKLOG = 4096  # connections that wait to be accepted; the kernel may allow fewer
MOST_DESCRIPTORS = 64  # that a worker may hand over at once

_Address = tuple[socket.AddressFamily, tuple[str, int]]


class Listening:
    """The listening sockets by place, kept open here for the processes to come."""

    def __init__(self, host: str, port: int) -> None:
        """Prepare to listen; port 0: any free one, the same for all places."""
        self._host = host
        self.port = port  # the one taken, once it is open
        self._sockets: dict[str, list[socket.socket]] = {}
        self._is_open = False

    def take_over(self, place: str, sockets: Sequence[socket.socket]) -> None:
        """Keep what a process has handed over, if nothing is known for its place.

        One that drains has none any more, and those of a process are those of its place. Once it
        is open here, what an earlier node left to be taken over is ours.
        """
        if sockets and place not in self._sockets and not self._is_open:
            self._sockets[place] = list(sockets)
        else:
            _close(sockets)

    async def open(self, places: Iterable[str]) -> None:
        """Listen for each place, where possible on the sockets that were taken over.

        Raises:
            OSError: the address cannot be had.
        """
        wanted, places = await self._addresses(), frozenset(places)
        self._is_open = True
        for place, sockets in list(self._sockets.items()):
            addresses = {(each.family, each.getsockname()[:2]) for each in sockets}
            if place not in places or addresses != set(wanted):
                _close(self._sockets.pop(place))
        if not self._sockets:
            wanted = self._claim(wanted)
        for place in places.difference(self._sockets):
            self._sockets[place] = [_bound(address, shared=True) for address in wanted]

    def of(self, place: str) -> list[socket.socket]:
        """Return the sockets of a place."""
        return self._sockets[place]

    def close(self) -> None:
        """Listen no more, as far as this process is concerned."""
        for sockets in self._sockets.values():
            _close(sockets)
        self._sockets.clear()

    async def _addresses(self) -> list[_Address]:
        found = await asyncio.get_running_loop().getaddrinfo(
            self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        addresses = ((family, (str(address[0]), self.port)) for family, *_, address in found)
        return list(dict.fromkeys(addresses))  # a hosts file may name one twice

    def _claim(self, wanted: Iterable[_Address]) -> list[_Address]:
        """Make sure that nobody listens there: a shared port is shared with whoever asks, too.

        Returns the addresses with the port that was taken.
        """
        taken = []
        for family, (host, _) in wanted:
            with _bound((family, (host, self.port)), shared=False) as probe:
                self.port = probe.getsockname()[1]
            taken.append((family, (host, self.port)))
        return taken


def _bound(address: _Address, *, shared: bool) -> socket.socket:
    """Return a socket that listens, on a port of its own or one that is shared."""
    family, where = address
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(where)
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()


async def handed_over(connection: socket.socket) -> list[socket.socket]:
    """Return the sockets that come with the first bytes of a Unix socket, which are left there."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    numbers = array("i")
    room = socket.CMSG_LEN(MOST_DESCRIPTORS * numbers.itemsize)
    with contextlib.suppress(ConnectionError):  # whoever reads it next will see
        # Not recv_fds: it forgets the flags.
        flags = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
        _, extra, _, _ = connection.recvmsg(1, room, flags)
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return [socket.socket(fileno=number) for number in numbers]
