"""One attempt to find out whether an instance takes requests; when to try again is not known here.

A grpc probe is a plain TCP connect for now: the health protocol needs a gRPC library.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp

from windlass.model.service import Probe

if TYPE_CHECKING:
    from windlass.model.instance import Address
    from windlass.model.service import Container


async def answers(container: Container, address: Address) -> bool:
    """Return whether the container's startup probe succeeds there, by default a TCP connect."""
    return await passes(container.startup_probe or Probe(), container, address)


async def passes(probe: Probe, container: Container, address: Address) -> bool:
    """Return whether a probe of a container succeeds there."""
    port = address.port
    if probe.port is not None and probe.port != container.port:
        port = probe.port  # reachable only where the driver dials the container itself
    try:
        async with asyncio.timeout(probe.timeout):
            if probe.kind == "http":
                return await _http(probe, address.host, port)
            return await _connects(address.host, port)
    except (OSError, TimeoutError, aiohttp.ClientError):
        return False


async def _connects(host: str, port: int) -> bool:
    # A plain socket: an instance that boots is asked many times, beside its own work.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as tried:
        await asyncio.get_running_loop().sock_connect(tried, (host, port))
    return True


async def _http(probe: Probe, host: str, port: int) -> bool:
    """Succeed on 200 to 399, as Kubernetes does."""
    where = f"[{host}]" if ":" in host else host
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{where}:{port}{probe.path}", headers=probe.headers, allow_redirects=False
        ) as response,
    ):
        return 200 <= response.status < 400
