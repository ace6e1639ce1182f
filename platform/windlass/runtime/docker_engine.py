"""The connection to a Docker engine: how it is found, what it can reach, and its faults as ours."""

from __future__ import annotations

import contextlib
import ipaddress
import platform
import socket
from typing import TYPE_CHECKING

import aiodocker
import aiohttp

from windlass.runtime.base import ImageMissing, RuntimeFault, RuntimeUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

UNREACHABLE = 900  # the status that aiodocker gives to "cannot connect"
BAD_REQUEST, NOT_FOUND, CONFLICT = 400, 404, 409
_TIMEOUT = aiohttp.ClientTimeout(total=120.0, sock_connect=5.0)
NO_TIMEOUT = aiohttp.ClientTimeout(sock_connect=5.0)  # for streams


def connect(url: str | None) -> aiodocker.Docker:
    """Return a client of the engine at `url`, or of the one that the docker command would use.

    Raises:
        RuntimeUnavailable: no engine is named or found. Whether it answers shows at the first call.
    """
    try:
        engine = aiodocker.Docker(url, timeout=_TIMEOUT)
    except (AssertionError, ValueError, aiodocker.DockerError) as error:
        # Without a socket at any of the usual places, aiodocker fails an assertion.
        raise _unavailable(str(error) or "no socket of an engine was found") from error
    if engine.connector:
        # Each followed log holds a connection, and aiohttp would allow 100 in all.
        engine.connector._limit = 0
    return engine


async def reaches_containers(engine: aiodocker.Docker) -> bool:
    """Return whether the engine's bridge is an interface of this machine, as seen from here.

    It is not on Docker Desktop, rootless Docker, or from within another container.
    """
    configs = []
    with no_fault_if_gone():
        configs = (await engine._query_json("networks/bridge"))["IPAM"]["Config"]
    for config in configs:
        subnet = ipaddress.ip_network(config["Subnet"])
        gateway = config.get("Gateway") or str(next(subnet.hosts()))
        if subnet.version == 4:
            with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as probe:
                probe.bind((gateway, 0))  # only an address of this machine can be bound
                return True
    return False


@contextlib.contextmanager
def faults_told() -> Iterator[None]:
    """Turn the engine's faults into ours, a lost engine with the next step."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == UNREACHABLE:
            raise _unavailable(error.message) from error
        raise RuntimeFault("Docker refused", error.message) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _unavailable(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def no_fault_if_gone() -> Iterator[None]:
    """End the block where the engine says that what it is about is gone, or does not run."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status not in (NOT_FOUND, CONFLICT):
            raise


def _unavailable(message: str) -> RuntimeUnavailable:
    if "Permission denied" in message:
        step = "let your user reach it (sudo usermod -aG docker $USER, then log in again)"
    elif platform.system() == "Linux":
        step = "start it: sudo systemctl start docker"
    else:
        step = "start it: open Docker Desktop"
    return RuntimeUnavailable("Docker does not answer", f"{message}; {step}")


def image_missing(image: str, message: str) -> ImageMissing:
    """Return the fault of an image that is not here, with what the engine said about it."""
    return ImageMissing(
        f"the image {image} is not here and could not be pulled",
        f"{message}; build or pull it first: docker pull {image}",
    )
