"""The process runtime: an instance is a child process of this machine, without an image.

Instances share the machine's ports, so each gets a free one of its own as PORT, and loopback as
HOST: the container's port is not used. They see the platform's environment and files: a way to
develop, not a fence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import socket
from typing import TYPE_CHECKING

import structlog

from windlass.model.instance import Address
from windlass.runtime import cgroups
from windlass.runtime.base import (
    Ended,
    ImageMissing,
    Running,
    RuntimeFault,
    RuntimeUnavailable,
    StartFailed,
)
from windlass.runtime.child import Child, end_group, recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from windlass.model.service import Container
    from windlass.runtime.base import CpuControl, LogLine, Standby, Start

log = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"
# Below the ports that outgoing connections are given (32768 and up unless configured otherwise),
# so that none of ours is taken by a connection of the router before the instance listens.
_PORTS = range(20_000, 32_000)
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Process:
    """Runs instances as child processes; meets windlass.runtime.base.Runtime."""

    name = "process"
    parallel_starts = max(2, os.cpu_count() or 1)  # a program's start is all processor time
    cpu: CpuControl | None = None
    standby: Standby | None = None

    def __init__(self, state: Path, state_id: str) -> None:
        """Keep records of the children below `state`/process."""
        self._folder = (state / "process").absolute()
        self._group_name = f"windlass-process-{state_id}"
        self._groups: cgroups.Groups | None = None
        self._children: dict[str, Child] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._ports: dict[str, int] = {}
        self._ended: asyncio.Queue[Ended | None] = asyncio.Queue()

    async def open(self) -> None:
        """Check the kernel, and find where limits can be set.

        Raises:
            RuntimeUnavailable: this is no Linux of version 5.3 or later.
        """
        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError) as error:
            raise RuntimeUnavailable(
                "the process runtime needs Linux 5.3 or later", "use --runtime docker"
            ) from error
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._groups = cgroups.find(self._group_name)
        if self._groups is None:
            log.warning(
                "memory and cpu limits are not enforced: no control group can be made",
                next_step="run as root, or under a systemd user session",
            )

    async def close(self) -> None:
        """Stop watching; instances go on living, but nobody reads what they write."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        if self._groups:
            self._groups.remove_parents()
        self._ended.put_nowait(None)

    async def retain(self, images: Iterable[str]) -> None:
        """Remove nothing: there are no images."""

    async def prepare(self, container: Container) -> str:
        """Make sure that the command is here.

        Raises:
            RuntimeFault: an image is given instead.
            ImageMissing: there is no such command.
        """
        if container.image:
            raise RuntimeFault(
                f"the process runtime runs commands, not images like {container.image}",
                "deploy with --exec 'COMMAND', or start the platform with --runtime docker",
            )
        if complaint := _missing_command(container, _own_environment(container)):
            raise ImageMissing(complaint, "install it, or name it by its full path")
        return ""

    async def start(self, request: Start) -> Running:
        """Start a child process. It listens on the PORT of its environment, on loopback.

        Raises:
            StartFailed: nothing of it is left behind.
        """
        container = request.container
        port = self._free_port()
        env = _environment(request, port)
        complaint = _missing_command(container, env) or _forbidden_user(container)
        if complaint:
            raise StartFailed(f"{request.revision} could not be started", complaint)
        group = None
        try:
            if self._groups:
                group = self._groups.make(request.instance, request.limits)
            record = self._folder / request.instance
            command = _command_line(container, env)
            child = Child(command, env, container.working_dir or None, record, group)
        except OSError as error:
            if group:
                await group.remove()
            raise StartFailed(f"{request.revision} could not be started", str(error)) from error
        self._ports[request.instance] = port
        self._children[request.instance] = child
        watch = asyncio.create_task(self._watch(request.instance, child))
        self._watches[request.instance] = watch
        return Running(request.instance, request.revision, request.service, Address(LOOPBACK, port))

    async def signal_stop(self, instance: str) -> None:
        """Send SIGTERM to all processes of the instance; no fault if it is gone."""
        if child := self._children.get(instance):
            child.send(signal.SIGTERM)

    async def kill(self, instance: str) -> None:
        """Send SIGKILL to all processes of the instance; no fault if it is gone."""
        if child := self._children.get(instance):
            child.send(signal.SIGKILL)

    async def remove(self, instance: str) -> None:
        """Remove what is left of an instance, its output too; one that lives is killed."""
        await self.kill(instance)
        if watch := self._watches.get(instance):
            await asyncio.shield(watch)
        self._watches.pop(instance, None)
        self._children.pop(instance, None)

    async def ended(self) -> AsyncIterator[Ended]:
        """Yield each end of an instance of ours as it happens, while the driver is open."""
        while (end := await self._ended.get()) is not None:
            yield end

    async def adopt(self) -> list[Running]:
        """End what an earlier platform left running: its output went with that platform."""
        for record in sorted(self._folder.iterdir()):
            if record.name in self._children:
                continue
            if pid := recorded(record):
                await end_group(pid)
                log.info("ended a process of an earlier platform", instance=record.name, pid=pid)
            record.unlink()
        for name, group in self._groups.left() if self._groups else ():
            if name not in self._children:
                await group.remove()
        return []

    async def logs(self, instance: str) -> AsyncIterator[LogLine]:
        """Yield what is kept of the instance's output (the last MiB), then follow to its end."""
        if child := self._children.get(instance):
            async for line in child.output.follow():
                yield line

    async def _watch(self, instance: str, child: Child) -> None:
        outcome = await child.run()
        self._ended.put_nowait(Ended(instance, outcome))
        del self._ports[instance]
        await child.clean()

    def _free_port(self) -> int:
        used = set(self._ports.values())
        for port in random.sample(_PORTS, 1000):
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", port))
                if port not in used:
                    return port
        raise StartFailed(
            "no port is free for the instance", f"tried 1000 of {_PORTS.start} to {_PORTS.stop - 1}"
        )


def _own_environment(container: Container) -> dict[str, str]:
    return {**os.environ, "HOST": LOOPBACK, **dict(container.env)}


def _environment(request: Start, port: int) -> dict[str, str]:
    return {
        **_own_environment(request.container),
        "PORT": str(port),
        "K_SERVICE": request.service,
        "K_REVISION": request.revision,
        "K_CONFIGURATION": request.service,
    }


def _command_line(container: Container, env: dict[str, str]) -> list[str]:
    """Return the command with what must happen between its start and its own first step."""
    words = [*container.exec, *container.args]
    # A shell passes on only variables that it could name itself.
    odd = [f"{name}={value}" for name, value in env.items() if not _SHELL_NAME.fullmatch(name)]
    if odd:
        words = ["env", *odd, *words]
    if container.user is not None and container.user != os.geteuid():
        user = str(container.user)
        words = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *words]
    return words


def _missing_command(container: Container, env: dict[str, str]) -> str:
    if not container.exec:
        return "no command is given"
    command = container.exec[0]
    path = os.path.join(container.working_dir, command) if os.sep in command else command
    found = shutil.which(path, path=env.get("PATH"))
    return "" if found else f"the command {command} is not there or cannot be executed"


def _forbidden_user(container: Container) -> str:
    if container.user in (None, os.geteuid()) or os.geteuid() == 0:
        return ""
    return f"only root can run a command as user {container.user}; leave the user out"
