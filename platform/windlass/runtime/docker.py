"""The docker runtime: an instance is a container of a Docker engine that is reached through its
API. What is said to the engine, and how its answers read, is docker_format's affair."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import platform
import socket
import time
from typing import TYPE_CHECKING, Any

import aiodocker
import aiohttp
import msgspec
import structlog

from windlass.model.instance import Exit
from windlass.runtime import docker_format as form
from windlass.runtime.base import (
    Ended,
    ImageMissing,
    Running,
    RuntimeFault,
    RuntimeUnavailable,
    StartFailed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aiodocker.containers import DockerContainer

    from windlass.model.service import Container
    from windlass.runtime.base import LogLine, Start

log = structlog.get_logger(__name__)

_UNREACHABLE = 900  # the status that aiodocker gives to "cannot connect"
_BAD_REQUEST, _NOT_FOUND, _CONFLICT = 400, 404, 409
_TIMEOUT = aiohttp.ClientTimeout(total=120.0, sock_connect=5.0)
_NO_TIMEOUT = aiohttp.ClientTimeout(sock_connect=5.0)  # for streams
_LOOKED_BACK = 60  # seconds of events asked for again, in case the engine's clock differs
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts to reach an engine that went away


class Docker:
    """Runs instances as Docker containers; meets windlass.runtime.base.Runtime."""

    name = "docker"
    parallel_starts = 4

    def __init__(
        self, state_id: str, *, url: str | None = None, publish: bool | None = None
    ) -> None:
        """Own the containers labelled with `state_id`.

        `url`: the engine's; None: as the docker command finds it. `publish`: reach instances
        through a port of the loopback, not their own address; None: where that is needed.
        """
        self._state_id, self._url, self._publish = state_id, url, publish
        self._engine: aiodocker.Docker | None = None
        self._alive: dict[str, asyncio.Event] = {}  # instance -> its start has been told
        self._killed: set[str] = set()
        self._unremoved: set[str] = set()  # failed starts that the engine could not be told of
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Queue[Ended | None] = asyncio.Queue()

    async def open(self) -> None:
        """Connect to the engine and watch its events.

        Raises:
            RuntimeUnavailable: it does not answer; with the next step.
        """
        engine = _connect(self._url)
        try:
            with _told():
                version = await engine.version()
                if self._publish is None:
                    self._publish = not await _reaches_containers(engine)
        except BaseException:
            await engine.close()
            raise
        self._engine = engine
        self._spawn(self._watch())
        log.info("docker runtime open", engine=version["Version"], published_ports=self._publish)

    async def close(self) -> None:
        """Let go of the engine; instances go on living."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._engine:
            await self._engine.close()
        self._ended.put_nowait(None)

    async def prepare(self, container: Container) -> None:
        """Make sure the image is here: pull it if it is not.

        Raises:
            RuntimeFault: a command line is given instead of an image.
            ImageMissing: it is not to be had.
        """
        if container.exec:
            raise RuntimeFault(
                "the docker runtime runs images, not a command of this machine",
                "deploy with --image IMAGE, or start the platform with --runtime process",
            )
        with _told():
            try:
                await self._opened.images.inspect(container.image)
            except aiodocker.DockerError as error:
                if error.status == _NOT_FOUND:
                    await self._pull(container.image)
                elif error.status == _BAD_REQUEST:
                    raise _image_missing(container.image, error.message) from error
                else:
                    raise

    async def start(self, request: Start) -> Running:
        """Create and start a container.

        Raises:
            ImageMissing: its image is not here.
            StartFailed: nothing of it is left behind.
        """
        instance, told = request.instance, asyncio.Event()
        config = form.configuration(request, self._state_id, publish=bool(self._publish))
        containers = self._opened.containers
        with _told():
            creating = asyncio.create_task(containers.create(config, name=self._name(instance)))
            try:
                await (await asyncio.shield(creating)).start()
                self._alive[instance] = told  # before looking: it may end at any moment
                found = await self._inspect(instance)
            except BaseException as error:
                self._alive.pop(instance, None)
                await asyncio.shield(self._give_up(instance, creating))
                if isinstance(error, aiodocker.DockerError) and error.status != _UNREACHABLE:
                    raise _start_fault(request, error) from error
                raise
        if not found.is_running and self._alive.pop(instance, False):
            self._spawn(self._report(instance, told, found.exit))
        told.set()
        return Running(instance, request.revision, request.service, found.address())

    async def signal_stop(self, instance: str) -> None:
        """Send SIGTERM to the container's main process; no fault if it is gone."""
        await self._signal(instance, "SIGTERM")

    async def kill(self, instance: str) -> None:
        """Send SIGKILL, which ends every process of the container; no fault if it is gone."""
        if instance in self._alive:
            self._killed.add(instance)
        await self._signal(instance, "SIGKILL")

    async def remove(self, instance: str) -> None:
        """Remove an instance's container, its log too; one that lives is killed."""
        if instance in self._alive:
            self._killed.add(instance)
        container = self._opened.containers.container(self._name(instance))
        with _told(), _no_fault_if_gone():
            await container.delete(force=True, v=True)

    async def ended(self) -> AsyncIterator[Ended]:
        """Yield each end of an instance of ours as it happens, while the driver is open."""
        while (end := await self._ended.get()) is not None:
            yield end

    async def adopt(self) -> list[Running]:
        """Watch the containers of this state that run; remove those that have ended."""
        chosen = {"label": [f"{form.STATE}={self._state_id}"]}
        with _told():
            listed = await self._opened.containers.list(all=True, filters=json.dumps(chosen))
        adopted = []
        for container in listed:
            instance = container["Labels"][form.INSTANCE]
            if instance not in self._alive and (running := await self._adopt(instance)):
                adopted.append(running)
        return adopted

    async def logs(self, instance: str) -> AsyncIterator[LogLine]:
        """Yield what the instance wrote (the engine keeps the last 10 to 20 MB), then follow."""
        path = f"containers/{self._name(instance)}/logs"
        chosen = {"follow": "1", "stdout": "1", "stderr": "1", "timestamps": "1"}
        frames = form.LogFrames()
        with _told(), _no_fault_if_gone():
            async with self._stream(path, chosen) as content:
                async for data in content.iter_any():
                    for line in frames.feed(data):
                        yield line
        for line in frames.rest():
            yield line

    @property
    def _opened(self) -> aiodocker.Docker:
        if self._engine is None:
            raise RuntimeUnavailable("the docker runtime is not open", "call open() first")
        return self._engine

    def _name(self, instance: str) -> str:
        return f"windlass-{self._state_id}-{instance}"

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _inspect(self, instance: str) -> form.Inspection:
        found = await self._opened.containers.get(self._name(instance))
        return msgspec.convert(found._container, form.Inspection)

    async def _signal(self, instance: str, name: str) -> None:
        container = self._opened.containers.container(self._name(instance))
        with _told(), _no_fault_if_gone():
            await container.kill(signal=name)

    async def _give_up(self, instance: str, creating: asyncio.Task[DockerContainer]) -> None:
        # The engine goes on making a container that nobody waits for any more.
        with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, TimeoutError):
            await creating
        await self._undo(instance)

    async def _undo(self, instance: str) -> None:
        try:
            await self.remove(instance)
        except RuntimeFault:
            self._unremoved.add(instance)

    async def _adopt(self, instance: str) -> Running | None:
        told = asyncio.Event()
        told.set()
        self._alive[instance] = told  # before looking: it may end at any moment
        with _told(), _no_fault_if_gone():
            found = await self._inspect(instance)
            if found.is_running:
                labels = found.labels
                return Running(
                    instance, labels[form.REVISION], labels[form.SERVICE], found.address()
                )
        self._alive.pop(instance, None)
        await self.remove(instance)
        return None

    async def _pull(self, image: str) -> None:
        log.info("pulling an image", image=image)
        done = 0
        try:
            async for step in self._opened.images.pull(image, stream=True):
                if step.get("status") == "Pull complete":
                    done += 1
                    log.info("pulled a layer", image=image, layer=step.get("id"), layers=done)
        except aiodocker.DockerError as error:
            if error.status == _UNREACHABLE:
                raise
            raise _image_missing(image, error.message) from error
        log.info("pulled an image", image=image)

    @contextlib.asynccontextmanager
    async def _stream(
        self, path: str, chosen: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.StreamReader]:
        # aiodocker's own readers of logs and events hide a line's stream, and when they began.
        response = await self._opened._do_query(path, "GET", params=chosen, timeout=_NO_TIMEOUT)
        try:
            yield response.content
        finally:
            response.close()  # its end never comes: nothing to wait for

    async def _watch(self) -> None:
        """Report ends for as long as the driver is open, whatever happens to the engine."""
        pause = 0.0
        while True:
            try:
                with _told():
                    chosen = {
                        "type": ["container"],
                        "event": ["die"],
                        "label": [f"{form.STATE}={self._state_id}"],
                    }
                    since = str(int(time.time()) - _LOOKED_BACK)
                    query = {"filters": json.dumps(chosen), "since": since}
                    async with self._stream("events", query) as events:
                        await self._catch_up()
                        if pause:
                            log.info("docker answers again")
                        pause = 0.0
                        async for line in events:
                            self._see_end(json.loads(line)["Actor"]["Attributes"])
            except RuntimeFault as error:
                fault = str(error)
            else:
                fault = "it closed its stream of events"
            if not pause:
                log.warning("docker does not answer", fault=fault)
            pause = min(2 * pause or _PAUSE, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _see_end(self, attributes: dict[str, str]) -> None:
        """Act on one event; ends that are known already, or not of our time, are no news."""
        instance = attributes[form.INSTANCE]
        if told := self._alive.pop(instance, None):
            outcome = form.exit_of(int(attributes["exitCode"]))
            self._spawn(self._report(instance, told, outcome))

    async def _catch_up(self) -> None:
        """Find what ended while nobody watched.

        Each is looked at by itself: the engine tells an end before its listing shows it.
        """
        for instance, told in [*self._alive.items()]:
            outcome = Exit(reason="the container is gone")
            with _no_fault_if_gone():
                found = await self._inspect(instance)
                if found.is_running:
                    continue
                outcome = found.exit
            if self._alive.pop(instance, None):
                self._spawn(self._report(instance, told, outcome))
        while self._unremoved:
            instance = self._unremoved.pop()
            await self._undo(instance)

    async def _report(self, instance: str, told: asyncio.Event, outcome: Exit) -> None:
        if outcome.code != 0 and instance not in self._killed:
            # The event does not say whether memory was the reason.
            with contextlib.suppress(RuntimeFault), _told(), _no_fault_if_gone():
                outcome = (await self._inspect(instance)).exit
        self._killed.discard(instance)
        await told.wait()  # its start is told before its end
        self._ended.put_nowait(Ended(instance, outcome))


def _connect(url: str | None) -> aiodocker.Docker:
    try:
        engine = aiodocker.Docker(url, timeout=_TIMEOUT)
    except (AssertionError, ValueError, aiodocker.DockerError) as error:
        # Without a socket at any of the usual places, aiodocker fails an assertion.
        raise _unavailable(str(error) or "no socket of an engine was found") from error
    if engine.connector:
        # Each followed log holds a connection, and aiohttp would allow 100 in all.
        engine.connector._limit = 0
    return engine


async def _reaches_containers(engine: aiodocker.Docker) -> bool:
    """Return whether the engine's bridge is an interface of this machine, as seen from here.

    It is not on Docker Desktop, rootless Docker, or from within another container.
    """
    bridge = await engine._query_json("networks/bridge")
    for config in bridge["IPAM"]["Config"]:
        subnet = ipaddress.ip_network(config["Subnet"])
        gateway = config.get("Gateway") or str(next(subnet.hosts()))
        if subnet.version == 4:
            with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as probe:
                probe.bind((gateway, 0))  # only an address of this machine can be bound
                return True
    return False


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn the engine's faults into ours, a lost engine with the next step."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == _UNREACHABLE:
            raise _unavailable(error.message) from error
        raise RuntimeFault("Docker refused", error.message) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _unavailable(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _no_fault_if_gone() -> Iterator[None]:
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status not in (_NOT_FOUND, _CONFLICT):  # conflict: it does not run
            raise


def _unavailable(message: str) -> RuntimeUnavailable:
    if "Permission denied" in message:
        step = "let your user reach it (sudo usermod -aG docker $USER, then log in again)"
    elif platform.system() == "Linux":
        step = "start it: sudo systemctl start docker"
    else:
        step = "start it: open Docker Desktop"
    return RuntimeUnavailable("Docker does not answer", f"{message}; {step}")


def _image_missing(image: str, message: str) -> ImageMissing:
    return ImageMissing(
        f"the image {image} is not here and could not be pulled",
        f"{message}; build or pull it first: docker pull {image}",
    )


def _start_fault(request: Start, error: aiodocker.DockerError) -> RuntimeFault:
    if error.status == _NOT_FOUND and "No such image" in error.message:
        return _image_missing(request.container.image, error.message)
    return StartFailed(f"{request.revision} could not be started", error.message)
