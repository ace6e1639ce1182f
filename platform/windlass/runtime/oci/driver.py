"""The oci runtime: containers without a daemon, from the parts that Podman and CRI-O stand on.

Starts, watches and ends instances; what a container is made of is the maker's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import structlog

from windlass.model.instance import Address, Exit
from windlass.model.service import MIB, Container, Limits
from windlass.runtime.base import Ended, ImageMissing, Running, RuntimeUnavailable, StartFailed
from windlass.runtime.oci import engine, logs, parts, seccomp, spec, subnet
from windlass.runtime.oci.berths import Berths
from windlass.runtime.oci.cgroups import Cgroups
from windlass.runtime.oci.changes import Changes
from windlass.runtime.oci.commands import CommandFailed, to_its_end
from windlass.runtime.oci.cpu import Cpu
from windlass.runtime.oci.daemon import Daemon
from windlass.runtime.oci.images import Images
from windlass.runtime.oci.maker import Maker
from windlass.runtime.oci.network import Network
from windlass.runtime.oci.standby import Standby
from windlass.runtime.oci.users import Identity, UnknownUser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from windlass.runtime.base import LogLine, Start
    from windlass.runtime.oci.sandbox import Sandbox

log = structlog.get_logger(__name__)

_START_FAULTS = (CommandFailed, OSError, UnknownUser, spec.NothingToRun)


class Oci:
    """Runs instances with crun or runc; meets windlass.runtime.base.Runtime."""

    name = "oci"
    # A start is mostly the processors' work: more at once only makes the first ones late.
    parallel_starts = max(2, min(8, 3 * (os.cpu_count() or 1) // 2))

    def __init__(
        self,
        state: Path,
        state_id: str,
        *,
        berths_ahead: int = 12,
        reachable_ports: tuple[int, ...] = (),
    ) -> None:
        """Keep all files below `state`/oci.

        `reachable_ports` are TCP ports of this machine that instances may call: the router's.
        """
        self._folder = (state / "oci").absolute()
        self._state_id = state_id
        self._ahead, self._ports = berths_ahead, reachable_ports
        self._cgroups = Cgroups(f"windlass-{subnet.name_of(state_id)}")
        self._maker: Maker | None = None
        self._changes: Changes | None = None
        self._instances: dict[str, Sandbox] = {}
        self._found: list[Sandbox] = []
        self._swept = False  # until then, what an earlier platform left may be in use
        self.standby = Standby(self._make, self._discard)
        self.cpu = Cpu(self._cgroups, self._instances)
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._ended: asyncio.Queue[Ended] = asyncio.Queue()

    async def open(self) -> None:
        """Find the parts, choose the OCI runtime by trying it, and clean up after a crash.

        Raises:
            RuntimeUnavailable: a part is missing or refuses; with the next step.
        """
        found = parts.locate()
        try:
            await self._open(found)
        except (CommandFailed, OSError, subnet.NoFreeSubnet, msgspec.DecodeError) as error:
            with contextlib.suppress(CommandFailed, OSError):  # the first fault is the one to tell
                await self.close()
            raise RuntimeUnavailable(
                "containers cannot be run here", f"{error}. Try --runtime docker"
            ) from error

    async def _open(self, found: parts.Parts) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        profile = seccomp.resolve(found.seccomp.read_bytes(), spec.CAPABILITIES, os.uname().machine)
        chosen = await engine.choose(
            found,
            self._folder / "states",
            self._folder / "trial",
            lambda root: _trial(root, self._cgroups, profile),
        )
        images = Images(self._folder / "images", found, Daemon())
        images.open()
        connections = self._folder / "network"
        network = Network(connections, self._state_id, found, chosen.launcher, self._ports)
        folder = self._folder / "containers"
        berths = Berths(folder, chosen, network, self._ahead)
        self._maker = Maker(folder, chosen, images, network, berths, self._cgroups, profile)
        self._changes = Changes()
        await network.open()
        self._found = await self._maker.sweep()
        self._swept = True
        await berths.prove()
        log.info("oci runtime open", runtime=chosen.runtime, bridge=network.bridge)

    async def close(self) -> None:
        """Let go of the instances, which live on; remove all that was made ahead."""
        if self._maker is None or self._changes is None:
            return
        await self.standby.clear()
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        living = [*self._instances.values(), *self._found]
        for box in living:
            box.close()
        self._watches, self._found = {}, []
        self._instances.clear()
        await self._maker.berths.close()
        if self._swept and not living:
            await self._maker.network.close()
        self._swept = False
        self._maker.engine.launcher.close()
        self._changes.close()
        self._cgroups.close()
        self._maker = self._changes = None

    async def prepare(self, container: Container) -> str:
        """Make sure the container's image is here, unpacked; return its configuration's digest.

        Raises:
            ImageMissing: it is not to be had.
        """
        if not container.image:
            raise ImageMissing(
                "the oci runtime runs images, and none is named",
                "name one with --image, or use --runtime process for a command line",
            )
        return (await self._made.images.prepare(container.image)).digest

    async def retain(self, images: Iterable[str]) -> None:
        """Remove the unpacked images that are none of these and that no instance here needs."""
        await self._made.retain(set(images))

    async def start(self, request: Start) -> Running:
        """Start an instance, in a container that stands by where one does.

        Raises:
            StartFailed: nothing of it is left behind.
            ImageMissing: its image was removed and is not to be had.
        """
        box = self.standby.take(request.revision)
        try:
            box = box or await self._make(request)
            if box.record.instance != request.instance:
                box.assign(request.instance)
            if request.boost:
                self._cgroups.limit_cpu(box.record.name, request.boost)
            await self._made.engine.start(box.record.name)
        except BaseException as error:
            if box:
                await self._discard(box)
            if isinstance(error, _START_FAULTS):
                raise _failure(request, error) from error
            raise
        self._instances[request.instance] = box
        box.started.set()
        return _running(box)

    def instances(self) -> list[str]:
        """Return the instances that were started or adopted and not yet removed."""
        return list(self._instances)

    async def signal_stop(self, instance: str) -> None:
        """Send SIGTERM; no fault if the instance is gone."""
        self._signal(instance, signal.SIGTERM)

    async def kill(self, instance: str) -> None:
        """Send SIGKILL, which ends all processes of the instance; no fault if it is gone."""
        self._signal(instance, signal.SIGKILL)

    async def remove(self, instance: str) -> None:
        """Remove what is left of an instance, its log too; one that lives is killed."""
        if box := self._instances.pop(instance, None):
            await to_its_end(self._remove(box))

    async def _remove(self, box: Sandbox) -> None:
        if not box.ended.is_set():
            self._send(box, signal.SIGKILL)
            await box.ended.wait()
        await self._discard(box)

    async def ended(self) -> AsyncIterator[Ended]:
        """Yield each end of an instance of ours as it happens, while the driver is open."""
        while True:
            yield await self._ended.get()

    async def adopt(self) -> list[Running]:
        """Watch the instances that an earlier platform with this state left running."""
        found, self._found = self._found, []
        for box in found:
            self._instances[box.record.instance] = box
            self._thaw(box)  # what it was when the earlier platform went, this one cannot know
            box.started.set()
            self._watch(box)
        return [_running(box) for box in found]

    async def logs(self, instance: str) -> AsyncIterator[LogLine]:
        """Yield what the instance wrote from its start, then follow until it ends."""
        box, changes = self._instances.get(instance), self._changes
        if box and changes:
            async for line in logs.follow(box.log, box.ended, changes):
                yield line

    @property
    def network(self) -> Network:
        """The instances' network, while the driver is open."""
        return self._made.network

    @property
    def _made(self) -> Maker:
        if self._maker is None:
            raise RuntimeUnavailable("the oci runtime is not open", "call open() first")
        return self._maker

    async def _make(self, request: Start) -> Sandbox:
        try:
            box = await self._made.make(request)
        except _START_FAULTS as error:
            raise _failure(request, error) from error
        self._watch(box)
        return box

    async def _discard(self, box: Sandbox) -> None:
        if watch := self._watches.pop(box.record.name, None):
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await self._made.unmake(box)

    def _signal(self, instance: str, number: signal.Signals) -> None:
        if box := self._instances.get(instance):
            self._send(box, number)

    def _send(self, box: Sandbox, number: signal.Signals) -> None:
        box.send(number)
        self._thaw(box)  # a frozen process gets no signal, in version 1 not even SIGKILL

    def _thaw(self, box: Sandbox) -> None:
        with contextlib.suppress(OSError):  # it ended meanwhile
            self._cgroups.thaw(box.record.name)

    def _watch(self, box: Sandbox) -> None:
        self._watches[box.record.name] = asyncio.create_task(self._see_end(box))

    async def _see_end(self, box: Sandbox) -> None:
        outcome = self._explained(box, await box.wait())
        box.ended.set()
        if self.standby.forget(box):
            del self._watches[box.record.name]
            log.warning("a container that stood by ended", revision=box.record.revision)
            await self._made.unmake(box)
            return
        await box.started.wait()  # its start is told before its end
        self._ended.put_nowait(Ended(box.record.instance, outcome))

    def _explained(self, box: Sandbox, outcome: Exit) -> Exit:
        """Say that memory was the reason, where the kernel killed for it and we did not."""
        by_itself = outcome.signal == signal.SIGKILL or bool(outcome.code)
        if box.killed or not by_itself or not self._cgroups.memory_kills(box.record.name):
            return outcome
        limit = self._cgroups.memory_limit(box.record.name) // MIB
        return msgspec.structs.replace(
            outcome, out_of_memory=True, reason=f"out of memory: the limit is {limit} MiB"
        )


def _trial(root: Path, cgroups: Cgroups, profile: dict[str, object]) -> dict[str, object]:
    place = spec.Place(
        root=root,
        netns=None,
        cgroup=cgroups.path("trial"),
        hostname="trial",
        identity=Identity(),
        seccomp=profile,
        swap_limit=cgroups.limits_swap,
    )
    return spec.specification(Container(), Limits(), ["/bin/true"], {}, "/", place)


def _running(box: Sandbox) -> Running:
    record = box.record
    return Running(
        record.instance, record.revision, record.service, Address(record.host, record.port)
    )


def _failure(request: Start, error: BaseException) -> StartFailed:
    message = error.message if isinstance(error, CommandFailed) else f"{error}"
    return StartFailed(f"{request.revision} could not be started", message)
