"""The router's worker processes and the node's end of their links.

Starts workers, replaces one that crashes, takes over those that an earlier node left serving, and
passes messages both ways. What the messages mean is for whoever listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = structlog.get_logger(__name__)

BIND_FAILED = 3  # a worker's exit code when it cannot listen: starting it again would not help
TAKE_OVER = 5.0  # seconds that a worker left by an earlier node has to say hello
DISMISSED = 10.0  # seconds that a worker which is not wanted any more has to finish its requests
RESTART_PAUSE = 0.5  # seconds before a crashed worker is replaced, so that a broken one cannot spin
MAX_BACKLOG = 16 * 1024**2  # bytes waiting for a worker that no longer reads its link


class Listener(Protocol):
    """Who hears what workers say. Synchronous: links are read one message at a time."""

    def snapshot(self, known: Iterable[str]) -> Iterable[link.ToWorker]:
        """Return all that a worker must know when it (re)connects; it knows these instances."""

    def starved(self, worker: str, message: link.Starved) -> None:
        """Requests wait and no slot is free."""

    def drained(self, worker: str, message: link.InstanceDrained) -> None:
        """A draining instance has nothing in flight through this worker."""

    def rested(self, worker: str, message: link.InstanceRested) -> None:
        """A worker says whether it lets an instance be frozen."""

    def woken(self, message: link.InstanceWoken) -> None:
        """A worker has thawed an instance."""

    def unlinked(self) -> None:
        """A worker's link is closed; the worker may be back, or gone."""

    def unreachable(self, message: link.InstanceUnreachable) -> None:
        """An instance does not take connections."""

    def reported(self, message: link.Report) -> None:
        """A stretch of time was served."""

    def worker_gone(self, worker: str) -> None:
        """A worker's process ended without being asked to."""


class CannotListen(Exception):
    """A worker could not take its address; it has said why on stderr."""


class Workers:
    """Worker processes by place, each with its link once it has said hello.

    The process at the place `worker-1` calls itself `worker-1.1f3a09bc`, another one each time:
    reports are numbered per process, and the ledger must not take a new one's for an old one's.
    """

    def __init__(
        self, state: Path, command: Callable[[str], list[str]], listener: Listener
    ) -> None:
        self._state = state
        self._command = command
        self._listener = listener
        self._links: dict[str, asyncio.StreamWriter] = {}
        self._said_hello: dict[str, asyncio.Event] = {}
        self._own_names: dict[str, str] = {}  # of the process at each place that said hello last
        self._watches: list[asyncio.Task[None]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._server: asyncio.Server | None = None
        self._stopping = False

    @property
    def socket(self) -> Path:
        """The Unix socket that workers connect to."""
        return self._state / "link.sock"

    async def open(self, count: int) -> None:
        """Listen, take over workers of an earlier node, start the others, wait for their hello.

        Raises:
            CannotListen: a worker could not take its address.
        """
        self.socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        self.socket.chmod(0o600)
        names = [f"worker-{number}" for number in range(1, count + 1)]
        for left in {path.stem for path in self._state.glob("worker-*.pid")}.difference(names):
            await self._let_go(left)
        for name in names:
            self._said_hello[name] = asyncio.Event()
            if not await self._take_over(name):
                await self._start(name)

    def send(self, message: link.ToWorker) -> None:
        """Tell every worker; one that is not linked now gets the snapshot when it comes back."""
        data = link.encode(message)
        for name, writer in list(self._links.items()):
            if writer.is_closing():  # it gets the snapshot when it is back
                continue
            writer.write(data)
            if writer.transport.get_write_buffer_size() > MAX_BACKLOG:
                log.warning("worker does not read its link, link closed", worker=name)
                writer.transport.abort()

    def acknowledge(self, worker: str, sequence: int) -> None:
        """Tell a worker that its reports up to this one are safe."""
        writer = self._links.get(_place(worker))
        if writer and not writer.is_closing():
            writer.write(link.encode(link.Acknowledge(sequence)))

    @property
    def places(self) -> frozenset[str]:
        """Every worker that serves or may serve requests, linked now or not."""
        return frozenset(self._said_hello)

    def reload(self) -> None:
        """Let every worker read its certificates anew."""
        for name in self._said_hello:
            self._signal(name, signal.SIGHUP)

    async def close(self, grace: float) -> None:
        """Drain every worker; kill what is left after `grace` seconds."""
        self._stopping = True
        await asyncio.gather(*(self._drain(name, grace) for name in self._said_hello))
        for watch in self._watches:
            watch.cancel()
        if self._server:
            self._server.close()
        self.socket.unlink(missing_ok=True)

    async def _drain(self, name: str, grace: float) -> None:
        """End one worker, and wait until it is gone."""
        writer = self._links.get(name)
        if writer and not writer.is_closing():
            writer.write(link.encode(link.Drain(grace)))
        else:
            self._signal(name, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended(name), grace + 2.0)
        except TimeoutError:
            log.warning("worker did not end in time, killed", worker=name)
            self._signal(name, signal.SIGKILL)
            await self._ended(name)
        self._pid_file(name).unlink(missing_ok=True)

    async def _let_go(self, name: str) -> None:
        """End a worker of an earlier node that had more of them; its reports are heard first."""
        self._said_hello[name] = asyncio.Event()
        if self._left_running(name) is not None and await self._says_hello(name):
            log.info("worker is not wanted any more", worker=name)
            await self._drain(name, DISMISSED)
        else:
            self._listener.worker_gone(name)
        self._pid_file(name).unlink(missing_ok=True)
        del self._said_hello[name]

    async def _take_over(self, name: str) -> bool:
        pid = self._left_running(name)
        if pid is None or not await self._says_hello(name):
            if self._pid_file(name).exists():  # killed with its node: nothing is in flight there
                self._listener.worker_gone(name)
            return False
        if _words(pid) != self._command(self._own_names[name]):
            log.info("worker of an earlier run has other options, replaced", worker=name, pid=pid)
            await self._drain(name, DISMISSED)
            return False
        log.info("worker taken over", worker=name, pid=pid)
        self._watches.append(asyncio.create_task(self._watch_taken_over(name)))
        return True

    async def _says_hello(self, name: str) -> bool:
        """Wait for a worker of an earlier node; kill one that says nothing."""
        try:
            await asyncio.wait_for(self._said_hello[name].wait(), TAKE_OVER)
        except TimeoutError:
            log.warning("worker of an earlier run does not answer, killed", worker=name)
            self._signal(name, signal.SIGKILL)
            await self._ended(name)
            return False
        return True

    async def _start(self, name: str) -> None:
        self._said_hello[name].clear()
        # A session of its own: Ctrl-C in the terminal is for the node, which then drains workers.
        process = await asyncio.create_subprocess_exec(
            *self._command(f"{name}.{secrets.token_hex(4)}"),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes[name] = process
        self._pid_file(name).write_text(str(process.pid))
        hello = asyncio.create_task(self._said_hello[name].wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({hello, ended}, return_when=asyncio.FIRST_COMPLETED)
        hello.cancel()
        if ended.done():
            self._pid_file(name).unlink(missing_ok=True)
            if ended.result() == BIND_FAILED:
                raise CannotListen(name)
            raise RuntimeError(f"router worker {name} ended at its start: {ended.result()}")
        log.info("worker started", worker=name, pid=process.pid)
        self._watches.append(asyncio.create_task(self._watch(name, ended)))

    async def _watch(self, name: str, ended: asyncio.Task[int]) -> None:
        code = await ended
        await self._replace(name, f"exit code {code}")

    async def _watch_taken_over(self, name: str) -> None:
        await self._ended(name)
        await self._replace(name, "it was taken over: exit code unknown")

    async def _replace(self, name: str, how: str) -> None:
        if self._stopping:
            return
        log.error("worker ended, starting another", worker=name, how=how)
        self._listener.worker_gone(name)
        while not self._stopping:
            await asyncio.sleep(RESTART_PAUSE)
            try:
                await self._start(name)
                return
            except (CannotListen, RuntimeError, OSError) as error:
                log.error("worker does not start, trying again", worker=name, why=str(error))

    async def _ended(self, name: str) -> None:
        if process := self._processes.get(name):
            await process.wait()
            return
        while self._left_running(name) is not None:  # noqa: ASYNC110  (not our child: only its pid tells)
            await asyncio.sleep(0.1)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes.get(name)
        pid = process.pid if process else self._left_running(name)
        if pid is not None and not (process and process.returncode is not None):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pid_file(self, name: str) -> Path:
        return self._state / f"{name}.pid"

    def _left_running(self, name: str) -> int | None:
        try:
            pid = int(self._pid_file(name).read_text())
            words = _words(pid)
        except (OSError, ValueError):
            return None
        # A pid may be another process's by now: ours names its link.
        return pid if str(self.socket) in words else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        try:
            hello = await link.read_for_node(reader)
            if not isinstance(hello, link.Hello) or _place(hello.worker) not in self._said_hello:
                return
            name = _place(hello.worker)
            for message in self._listener.snapshot(hello.instances):
                writer.write(link.encode(message))
            self._links[name] = writer
            self._own_names[name] = hello.worker
            self._said_hello[name].set()
            while True:
                self._dispatch(name, await link.read_for_node(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the worker ended or will be back: its process is watched elsewhere
        except msgspec.DecodeError as error:
            log.error("worker said what is not a message, link closed", worker=name, why=str(error))
        finally:
            if self._links.get(name) is writer:
                del self._links[name]
                self._listener.unlinked()
            writer.close()

    def _dispatch(self, worker: str, message: link.ToNode) -> None:
        match message:
            case link.Starved():
                self._listener.starved(worker, message)
            case link.InstanceDrained():
                self._listener.drained(worker, message)
            case link.InstanceRested():
                self._listener.rested(worker, message)
            case link.InstanceWoken():
                self._listener.woken(message)
            case link.InstanceUnreachable():
                self._listener.unreachable(message)
            case link.Report():
                self._listener.reported(message)
            case link.Hello():
                log.warning("worker said hello twice", worker=message.worker)


def _place(worker: str) -> str:
    return worker.partition(".")[0]


def _words(pid: int) -> list[str]:
    """Return a process's command line, nothing if there is no such process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def worker_command(
    socket: Path, http: str, domains: Iterable[str], log_format: str, flags: Iterable[str] = ()
) -> Callable[[str], list[str]]:
    """Return the command line of a worker, as a function of its name."""
    words = [sys.executable, "-m", "windlass.router", "--link", str(socket), "--http", http]
    for domain in domains:
        words += ["--domain", domain]
    words += ["--log-format", log_format, *flags]
    return lambda name: [*words, "--worker", name]
