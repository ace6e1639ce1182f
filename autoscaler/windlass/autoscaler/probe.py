"""One attempt to find out whether an instance takes requests; not when to try again."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp

from windlass.autoscaler.grpc_health import HealthCall
from windlass.model.service import Probe

if TYPE_CHECKING:
    from windlass.model.instance import Address
    from windlass.model.service import Container

READ = 16 * 1024  # bytes at a time


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
            if probe.kind == "grpc":
                return await _grpc(probe, address.host, port)
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
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{_authority(host, port)}{probe.path}",
            headers=probe.headers,
            allow_redirects=False,
        ) as response,
    ):
        return 200 <= response.status < 400


async def _grpc(probe: Probe, host: str, port: int) -> bool:
    """Succeed if the health service says SERVING, as Kubernetes does."""
    call = HealthCall(probe.grpc_service, _authority(host, port))
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while call.passed is None:
            writer.write(call.outgoing())
            call.take(await reader.read(READ))
        return call.passed
    finally:
        writer.transport.abort()  # close() would wait for one that reads nothing


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
