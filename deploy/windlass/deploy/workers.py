"""The router's worker processes and the node's end of their links.

Starts workers, replaces one that crashes or is to be renewed, takes over those that an earlier node
left serving, and passes messages both ways. What the messages mean is for whoever listens.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from windlass.deploy.listening import handed_over
from windlass.deploy.worker_process import WorkerProcess, left_behind, link_of, new_name
from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
    from pathlib import Path

    from windlass.deploy.listening import Listening

log = structlog.get_logger(__name__)

TAKE_OVER = 5.0  # seconds that a worker left by an earlier node has to say hello
DISMISSED = 10.0  # seconds that a worker which is not wanted any more has to finish its requests
# Seconds that a replaced worker has: no request may last longer. Its idle connections end before.
RELOADED = 3600.0
RESTART_PAUSE = 0.5  # seconds before one that crashed early is replaced: it must not spin
SOUND_AFTER = 10.0  # seconds after which a crash is not early
MAX_BACKLOG = 16 * 1024**2  # bytes waiting for a worker that no longer reads its link


class Listener(Protocol):
    """Who hears what workers say. Synchronous: links are read one message at a time."""

    def snapshot(self, known: Iterable[str]) -> Iterable[link.ToWorker]:
        """Return all that a worker must know when it (re)connects; it knows these instances."""

    def linked(self, worker: str, hello: link.Hello) -> None:
        """A worker said hello, and was told the snapshot."""

    def unlinked(self, worker: str) -> None:
        """A worker's link is closed; the worker may be back, or gone."""

    def starved(self, worker: str, message: link.Starved) -> None:
        """Requests wait and no slot is free."""

    def returned(self, worker: str, message: link.Returned) -> None:
        """A worker has given slots back."""

    def set_aside(self, worker: str, message: link.InstanceAside) -> None:
        """A worker gives an instance no request for a while, or does again."""

    def drained(self, worker: str, message: link.InstanceDrained) -> None:
        """A draining instance has nothing in flight through this worker."""

    def rested(self, worker: str, message: link.InstanceRested) -> None:
        """A worker says whether it lets an instance be frozen."""

    def woken(self, message: link.InstanceWoken) -> None:
        """A worker has thawed an instance."""

    def unreachable(self, message: link.InstanceUnreachable) -> None:
        """An instance does not take connections."""

    def quiet(self, worker: str, message: link.Quiet) -> None:
        """Nothing has happened at a worker since its report before."""

    def reported(self, message: link.Report) -> None:
        """A stretch of time was served."""

    def retiring(self, worker: str) -> None:
        """A worker is told to finish its requests and end."""

    def worker_gone(self, worker: str, *, lost: bool) -> None:
        """A worker's process ended; `lost`: without being asked to."""


class CannotListen(Exception):
    """The address that services are called on cannot be had."""


class WorkerFailed(Exception):
    """A worker ended before it served; it has said why on stderr."""


class Workers:
    """Worker processes: one serves at each place (`worker-1`, ...), others drain."""

    def __init__(
        self,
        state: Path,
        command: Callable[[str], list[str]],
        listener: Listener,
        listening: Listening,
    ) -> None:
        self._state = state
        self._command = command
        self._listener = listener
        self._listening = listening
        self._processes = {each.name: each for each in left_behind(state)}  # by name
        self._serving: dict[str, WorkerProcess] = {}  # by place
        self._watches: set[asyncio.Task[None]] = set()
        self._links: set[asyncio.Task[None]] = set()
        self._replacing = asyncio.Lock()  # a place: one process at a time
        self._link: socket.socket | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every process that serves or may serve requests, linked now or not."""
        return frozenset(self._processes)

    async def open(self, count: int) -> None:
        """Listen, take over workers of an earlier node, start the others, wait for their hello.

        Raises:
            CannotListen: the address cannot be had.
            WorkerFailed: a worker does not come up.
        """
        self._open_link()
        places = [f"worker-{number}" for number in range(1, count + 1)]
        left = list(self._processes.values())
        for process in await asyncio.gather(*(self._hear(process) for process in left)):
            if process is not None:
                self._take_over(process, places)
        try:
            await self._listening.open(places)
        except OSError as error:
            raise CannotListen(error.strerror or str(error)) from error
        unserved = [place for place in places if place not in self._serving]
        for started in asyncio.as_completed([self._start(place) for place in unserved]):
            await started
        for process in left:
            if process.name in self._processes and process not in self._serving.values():
                log.info("worker is not wanted any more", worker=process.name)
                self._retire(process, DISMISSED)

    def send(self, message: link.ToWorker) -> None:
        """Tell every worker; one that is not linked now gets the snapshot when it comes back."""
        data = link.encode(message)
        for process in self._processes.values():
            process.tell(data)
            if process.backlog > MAX_BACKLOG:
                log.warning("worker does not read its link, link closed", worker=process.name)
                process.hang_up()

    def tell(self, worker: str, message: link.ToWorker) -> None:
        """Tell one worker, if it is linked now."""
        if process := self._processes.get(worker):
            process.tell(link.encode(message))

    def acknowledge(self, worker: str, sequence: int) -> None:
        """Tell a worker that its reports up to this one are safe."""
        self.tell(worker, link.Acknowledge(sequence))

    async def reload(self) -> list[str]:
        """Replace the worker of each place, one after another; return the new ones' names.

        Each new one serves before the one it replaces stops accepting. The old ones may take long
        to end: until their clients' requests and kept connections have.

        Raises:
            WorkerFailed: a new one does not come up. Those from there on are not replaced.
        """
        for place in sorted(self._serving):
            async with self._replacing:
                old = self._serving[place]
                await self._start(place)
                if old.name in self._processes:  # it has not ended meanwhile
                    self._retire(old, RELOADED)
        return [process.name for _, process in sorted(self._serving.items())]

    def renew_certificates(self) -> None:
        """Let every worker read its certificates anew."""
        for process in self._processes.values():
            process.signal(signal.SIGHUP)

    async def close(self, grace: float) -> None:
        """Drain every worker; kill what is left after `grace` seconds."""
        await _cancel(self._watches)
        processes = list(self._processes.values())
        await asyncio.gather(*(each.drain(grace, patient=False) for each in processes))
        for process in processes:
            process.forget()
        await _cancel(self._links)
        if self._link is not None:
            self._link.close()
        link_of(self._state).unlink(missing_ok=True)
        self._listening.close()

    # Processes.

    async def _hear(self, process: WorkerProcess) -> WorkerProcess | None:
        """Wait for the hello of an earlier node's worker; kill one that says nothing."""
        if process.is_running():
            try:
                async with asyncio.timeout(TAKE_OVER):
                    await process.said_hello.wait()
            except TimeoutError:
                log.warning("worker of an earlier run does not answer", worker=process.name)
                process.signal(signal.SIGKILL)
                await process.ended()
            else:
                return process
        self._gone(process, lost=True)
        return None

    def _take_over(self, process: WorkerProcess, places: Collection[str]) -> None:
        """Let a worker of an earlier node go on, if it is what is wanted."""
        place = process.place
        if process.command_line() != self._command(process.name):
            log.info("worker of an earlier run has other options", worker=process.name)
        elif place in places and place not in self._serving and not process.draining:
            log.info("worker taken over", worker=process.name, pid=process.pid)
            self._serving[place] = process
            _keep(self._watches, self._watch(process))

    async def _start(self, place: str) -> None:
        """Start a process that serves at a place from now on; return when it does."""
        name = new_name(place)
        listeners = [each.fileno() for each in self._listening.of(place)]
        command = self._command(name)
        process = await WorkerProcess.start(self._state, name, command, listeners)
        self._processes[name] = process
        hello = asyncio.create_task(process.said_hello.wait())
        ended = asyncio.create_task(process.ended())
        await asyncio.wait({hello, ended}, return_when=asyncio.FIRST_COMPLETED)
        hello.cancel()
        if ended.done():
            self._gone(process, lost=False)
            raise WorkerFailed(f"{name} ended at its start: exit code {ended.result()}")
        ended.cancel()
        log.info("worker started", worker=name, pid=process.pid)
        self._serving[place] = process
        _keep(self._watches, self._watch(process))

    async def _watch(self, process: WorkerProcess) -> None:
        """Replace a process that ends while it serves."""
        served_since = asyncio.get_running_loop().time()
        code = await process.ended()
        if self._serving.get(process.place) is not process:
            return  # it was told to end
        how = "exit code unknown" if code is None else f"exit code {code}"
        log.error("worker ended, starting another", worker=process.name, how=how)
        self._gone(process, lost=True)
        lived = asyncio.get_running_loop().time() - served_since
        pause = 0.0 if lived > SOUND_AFTER else RESTART_PAUSE
        while self._serving[process.place] is process:
            await asyncio.sleep(pause)
            pause = RESTART_PAUSE
            async with self._replacing:
                if self._serving[process.place] is process:  # else a reload has replaced it
                    await self._try_start(process.place)

    async def _try_start(self, place: str) -> None:
        try:
            await self._start(place)
        except (WorkerFailed, OSError) as error:
            log.error("worker does not start, trying again", why=str(error))

    def _retire(self, process: WorkerProcess, grace: float) -> None:
        """Let a process finish what it has."""
        process.draining = True
        self._listener.retiring(process.name)
        _keep(self._watches, self._let_go(process, grace))

    async def _let_go(self, process: WorkerProcess, grace: float) -> None:
        finished = await process.drain(grace, patient=True)
        log.info("worker drained", worker=process.name, finished=finished)
        self._gone(process, lost=not finished)

    def _gone(self, process: WorkerProcess, *, lost: bool) -> None:
        process.forget()
        self._processes.pop(process.name, None)
        self._listener.worker_gone(process.name, lost=lost)

    # Links.

    def _open_link(self) -> None:
        path = link_of(self._state)
        path.unlink(missing_ok=True)
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.setblocking(False)
        self._link.bind(str(path))
        path.chmod(0o600)
        self._link.listen()
        _keep(self._links, self._accept(self._link))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            _keep(self._links, self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        sockets: Sequence[socket.socket] = ()
        process = None
        try:
            sockets = await handed_over(connection)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        try:
            hello = await link.read_for_node(reader)
            process = self._processes.get(hello.worker) if isinstance(hello, link.Hello) else None
            if process is None or not isinstance(hello, link.Hello):
                return
            self._listening.take_over(process.place, sockets)
            sockets = ()
            process.draining = process.draining or hello.draining
            for message in self._listener.snapshot(hello.slots):
                writer.write(link.encode(message))
            process.connect(writer)
            self._listener.linked(process.name, hello)
            while process.speaks_over(writer):
                self._dispatch(process.name, await link.read_for_node(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the worker ended or will be back: its process is watched elsewhere
        except msgspec.DecodeError as error:
            worker = process.name if process else "unknown"
            log.error(
                "worker said what is not a message, link closed", worker=worker, why=str(error)
            )
        finally:
            for each in sockets:
                each.close()
            if process is not None and process.speaks_over(writer):
                process.disconnect()
                self._listener.unlinked(process.name)
            writer.close()

    def _dispatch(self, worker: str, message: link.ToNode) -> None:
        match message:
            case link.Starved():
                self._listener.starved(worker, message)
            case link.Returned():
                self._listener.returned(worker, message)
            case link.InstanceAside():
                self._listener.set_aside(worker, message)
            case link.InstanceDrained():
                self._listener.drained(worker, message)
            case link.InstanceRested():
                self._listener.rested(worker, message)
            case link.InstanceWoken():
                self._listener.woken(message)
            case link.InstanceUnreachable():
                self._listener.unreachable(message)
            case link.Quiet():
                self._listener.quiet(worker, message)
            case link.Report():
                self._listener.reported(message)
            case link.Hello():
                log.warning("worker said hello twice", worker=message.worker)


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def worker_command(
    socket: Path, http: str, domains: Iterable[str], log_format: str, flags: Iterable[str] = ()
) -> Callable[[str], list[str]]:
    """Return the command line of a worker, as a function of its name."""
    words = [sys.executable, "-m", "windlass.router", "--link", str(socket), "--http", http]
    for domain in domains:
        words += ["--domain", domain]
    words += ["--log-format", log_format, *flags]
    return lambda name: [*words, "--worker", name]
