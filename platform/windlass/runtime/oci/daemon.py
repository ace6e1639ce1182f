"""Finds and exports images of a Docker engine on this machine, over its API; needs no client."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DEFAULT = "unix:///var/run/docker.sock"
_CHUNK = 1 << 20


class _Image(msgspec.Struct, rename="pascal"):
    id: str


class Daemon:
    """A local Docker engine, or the absence of one."""

    def __init__(self, host: str | None = None) -> None:
        address = host or os.environ.get("DOCKER_HOST") or _DEFAULT
        self._socket = Path(address.removeprefix("unix://"))

    async def find(self, name: str) -> str | None:
        """Return the engine's id (sha256:...) for an image; None: no engine, or not there."""
        if not self._socket.is_socket():
            return None
        try:
            async with self._session() as session, session.get(_url(name, "json")) as answer:
                if answer.status != 200:
                    return None
                return msgspec.json.decode(await answer.read(), type=_Image).id
        except aiohttp.ClientConnectionError:
            return None  # a socket that an engine left behind

    async def save(self, name: str, archive: Path) -> None:
        """Write the image to a file, as `docker save` does.

        Raises:
            aiohttp.ClientError: the engine does not give it.
        """
        async with self._session() as session, session.get(_url(name, "get")) as answer:
            answer.raise_for_status()
            with archive.open("wb") as file:
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    file.write(chunk)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.UnixConnector(path=str(self._socket))
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=60)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield session


def _url(name: str, what: str) -> str:
    return f"http://docker/images/{quote(name, safe='')}/{what}"
