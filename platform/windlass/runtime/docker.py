"""The docker runtime: an instance is a container of a Docker engine that is reached through its
API. The engine's faults are docker_engine's affair, what it is told and says docker_format's."""

from __future__ import annotations

import asyncio
import contextlib
import json
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
    Running,
    RuntimeFault,
    RuntimeUnavailable,
    StartFailed,
    image_gone,
)
from windlass.runtime.docker_engine import (
    BAD_REQUEST,
    NO_TIMEOUT,
    NOT_FOUND,
    UNREACHABLE,
    connect,
    faults_told,
    image_missing,
    no_fault_if_gone,
    reaches_containers,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from aiodocker.containers import DockerContainer

    from windlass.model.service import Container
    from windlass.runtime.base import CpuControl, LogLine, Standby, Start

log = structlog.get_logger(__name__)

_LOOKED_BACK = 60  # seconds of events asked for again, in case the engine's clock differs
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts to reach an engine that went away


class Docker:
    """Runs instances as Docker containers; meets windlass.runtime.base.Runtime."""

    name = "docker"
    # More at once end no sooner: on two cores 16 starts took about 4 s with 2, 4 or 8 at once, and
    # each of them half a second, a whole one, more.
    parallel_starts = 2
    # Pausing takes the engine 20 to 30 ms, and as long again before a request could be served.
    cpu: CpuControl | None = None
    standby: Standby | None = None

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
        engine = connect(self._url)
        try:
            with faults_told():
                version = await engine.version()
                if self._publish is None:
                    self._publish = not await reaches_containers(engine)
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

    async def retain(self, images: Iterable[str]) -> None:
        """Remove nothing: the engine's images are its user's."""

    async def prepare(self, container: Container) -> str:
        """Make sure the image is here: pull it if it is not. Return the engine's id of it.

        Raises:
            RuntimeFault: a command line is given instead of an image.
            ImageMissing: it is not to be had.
        """
        if container.exec:
            raise RuntimeFault(
                "the docker runtime runs images, not a command of this machine",
                "deploy with --image IMAGE, or start the platform with --runtime process",
            )
        with faults_told():
            images = self._opened.images
            try:
                found = await images.inspect(container.image)
            except aiodocker.DockerError as error:
                if error.status == NOT_FOUND:
                    await self._pull(container.image)
                    found = await images.inspect(container.image)
                elif error.status == BAD_REQUEST:
                    raise image_missing(container.image, error.message) from error
                else:
                    raise
        identifier: str = found["Id"]
        return identifier

    async def start(self, request: Start) -> Running:
        """Create and start a container.

        Raises:
            ImageMissing: its image is not here.
            StartFailed: nothing of it is left behind.
        """
        instance, told = request.instance, asyncio.Event()
        config = form.configuration(request, self._state_id, publish=bool(self._publish))
        containers = self._opened.containers
        with faults_told():
            creating = asyncio.create_task(containers.create(config, name=self._name(instance)))
            try:
                await (await asyncio.shield(creating)).start()
                self._alive[instance] = told  # before looking: it may end at any moment
                found = await self._inspect(instance)
            except BaseException as error:
                self._alive.pop(instance, None)
                await asyncio.shield(self._give_up(instance, creating))
                if isinstance(error, aiodocker.DockerError) and error.status != UNREACHABLE:
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
        with faults_told(), no_fault_if_gone():
            await container.delete(force=True, v=True)

    async def ended(self) -> AsyncIterator[Ended]:
        """Yield each end of an instance of ours as it happens, while the driver is open."""
        while (end := await self._ended.get()) is not None:
            yield end

    async def adopt(self) -> list[Running]:
        """Watch the containers of this state that run; remove those that have ended."""
        chosen = {"label": [f"{form.STATE}={self._state_id}"]}
        with faults_told():
            listed = await self._opened.containers.list(all=True, filters=json.dumps(chosen))
        adopted = []
        for container in listed:
            instance = container["Labels"][form.INSTANCE]
            if instance not in self._alive and (running := await self._adopt(instance)):
                adopted.append(running)
        return adopted

    async def logs(self, instance: str) -> AsyncIterator[LogLine]:
        """Yield what the instance wrote (the engine keeps the last 10 to 20 MB), then follow."""
        frames = form.LogFrames()
        with faults_told(), no_fault_if_gone():
            async for data in self._log(instance, follow="1", stdout="1", stderr="1"):
                for line in frames.feed(data):
                    yield line
            # Docker before 23 may close a followed log before its last lines are sent.
            for stream in ("stdout", "stderr"):
                async for data in self._log(instance, since=frames.resume(stream), **{stream: "1"}):
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
        with faults_told(), no_fault_if_gone():
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
        # Before looking: it may end at any moment, which is told only if it was found running.
        told = self._alive[instance] = asyncio.Event()
        try:
            with faults_told():
                found = await self._inspect(instance)
        except BaseException:
            self._alive.pop(instance, None)
            raise
        if found.is_running:
            told.set()
            labels = found.labels
            return Running(instance, labels[form.REVISION], labels[form.SERVICE], found.address())
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
            if error.status == UNREACHABLE:
                raise
            raise image_missing(image, error.message) from error
        log.info("pulled an image", image=image)

    async def _log(self, instance: str, **chosen: str) -> AsyncIterator[bytes]:
        path = f"containers/{self._name(instance)}/logs"
        async with self._stream(path, {"timestamps": "1", **chosen}) as content:
            async for data in content.iter_any():
                yield data

    @contextlib.asynccontextmanager
    async def _stream(
        self, path: str, chosen: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.StreamReader]:
        # aiodocker's own readers of logs and events hide a line's stream, and when they began.
        response = await self._opened._do_query(path, "GET", params=chosen, timeout=NO_TIMEOUT)
        try:
            yield response.content
        finally:
            response.close()  # its end never comes: nothing to wait for

    async def _watch(self) -> None:
        """Report ends for as long as the driver is open, whatever happens to the engine."""
        pause = 0.0
        while True:
            fault = "it closed its stream of events"
            try:
                with faults_told():
                    async with self._stream("events", self._chosen_events()) as events:
                        await self._catch_up()
                        if pause:
                            log.info("docker answers again")
                        pause = 0.0
                        async for line in events:
                            self._see_end(json.loads(line)["Actor"]["Attributes"])
            except (RuntimeFault, ValueError) as error:  # ValueError: half an event at the end
                fault = str(error)
            if not pause:
                log.warning("docker does not answer", fault=fault)
            pause = min(2 * pause or _PAUSE, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _chosen_events(self) -> dict[str, str]:
        chosen = {
            "type": ["container"],
            "event": ["die"],
            "label": [f"{form.STATE}={self._state_id}"],
        }
        since = int(time.time()) - _LOOKED_BACK
        return {"filters": json.dumps(chosen), "since": str(since)}

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
            with no_fault_if_gone():
                found = await self._inspect(instance)
                if found.is_running:
                    continue
                outcome = found.exit
            if self._alive.pop(instance, None):
                self._spawn(self._report(instance, told, outcome))
        unremoved, self._unremoved = self._unremoved, set()
        for instance in unremoved:
            await self._undo(instance)

    async def _report(self, instance: str, told: asyncio.Event, outcome: Exit) -> None:
        if outcome.code != 0 and instance not in self._killed:
            # The event does not say whether memory was the reason.
            with contextlib.suppress(RuntimeFault), faults_told(), no_fault_if_gone():
                outcome = (await self._inspect(instance)).exit
        self._killed.discard(instance)
        await told.wait()  # its start is told before its end
        self._ended.put_nowait(Ended(instance, outcome))


def _start_fault(request: Start, error: aiodocker.DockerError) -> RuntimeFault:
    if error.status == NOT_FOUND and "No such image" in error.message:
        name, digest = request.container.image, request.image_digest
        return image_gone(name, digest) if digest else image_missing(name, error.message)
    return StartFailed(f"{request.revision} could not be started", error.message)
