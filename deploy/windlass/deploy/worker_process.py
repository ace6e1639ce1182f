"""One router process: started by this node, or left running by an earlier one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from typing import TYPE_CHECKING

from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


LAST_WORDS = 1.0  # seconds in which what a process has written to its link is surely read


class WorkerProcess:
    """A process with its link once it has said hello.

    The process at the place `worker-1` calls itself `worker-1.1f3a09bc`, another one each time:
    reports are numbered per process, and the ledger must not take a new one's for an old one's.
    """

    def __init__(self, state: Path, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.said_hello = asyncio.Event()
        self.draining = False  # it accepts no connection any more
        self._file = state / f"{name}.pid"
        self._child: asyncio.subprocess.Process | None = None
        self._link = str(link_of(state))
        self._writer: asyncio.StreamWriter | None = None
        self._silent = asyncio.Event()  # it has no link
        self._silent.set()

    @classmethod
    async def start(
        cls, state: Path, name: str, command: Sequence[str], listeners: Sequence[int]
    ) -> WorkerProcess:
        """Start a process that inherits the listeners."""
        # A session of its own: Ctrl-C in the terminal is for the node, which then drains workers.
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=listeners,
            env={**os.environ, link.LISTENERS: ",".join(map(str, listeners))},
        )
        process = cls(state, name, child.pid)
        process._child = child
        process._file.write_text(str(child.pid))
        return process

    @property
    def place(self) -> str:
        """The part of the name that the next process keeps."""
        return place_of(self.name)

    def command_line(self) -> list[str]:
        """Return the words it was started with, nothing if it has ended."""
        try:
            with open(f"/proc/{self.pid}/cmdline", "rb") as file:
                return file.read().decode(errors="replace").split("\0")[:-1]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def is_running(self) -> bool:
        """Tell whether it lives; its pid may be another process's by now."""
        if self._child is not None:
            return self._child.returncode is None
        return self._link in self.command_line()

    async def ended(self) -> int | None:
        """Wait until it has ended and what it said last was heard.

        Returns its exit status, None: it was not our child.
        """
        if self._child is not None:
            await self._child.wait()
        while self.is_running():  # noqa: ASYNC110  (only its pid tells)
            await asyncio.sleep(0.1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._silent.wait()
        return self._child.returncode if self._child is not None else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is there."""
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def drain(self, grace: float, *, patient: bool) -> bool:
        """Have it finish its requests; return when it has ended, and whether it did finish them.

        How one that is not our child ended is not known.
        """
        self.draining = True
        if not self.tell(link.encode(link.Drain(grace, patient))):
            self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace + 2.0):
                status = await self.ended()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended()
            return False
        return status in (0, None)

    def forget(self) -> None:
        """Remove what tells the next node of it."""
        self._file.unlink(missing_ok=True)

    # The link.

    def connect(self, writer: asyncio.StreamWriter) -> None:
        """Take its link; one it had before is not read any more."""
        self._writer = writer
        self._silent.clear()
        self.said_hello.set()

    def speaks_over(self, writer: asyncio.StreamWriter) -> bool:
        """Tell whether this is its link now."""
        return self._writer is writer

    def disconnect(self) -> None:
        """Its link is closed."""
        self._writer = None
        self._silent.set()

    def tell(self, message: bytes) -> bool:
        """Send; False: it is not linked."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(message)
        return True

    @property
    def backlog(self) -> int:
        """Bytes that it has not read yet."""
        return self._writer.transport.get_write_buffer_size() if self._writer else 0

    def hang_up(self) -> None:
        """Close the link at once; it will be back."""
        if self._writer is not None:
            self._writer.transport.abort()


def place_of(worker: str) -> str:
    """Return the place of a process by its name."""
    return worker.partition(".")[0]


def new_name(place: str) -> str:
    """Return a name for the next process of a place."""
    return f"{place}.{secrets.token_hex(4)}"


def link_of(state: Path) -> Path:
    """Return the Unix socket that the processes of a state folder connect to."""
    return state / "link.sock"


def left_behind(state: Path) -> list[WorkerProcess]:
    """Return the processes of an earlier node; some may have ended since."""
    files = sorted(state.glob("worker-*.pid"))
    pids = ((file.stem, file.read_text()) for file in files)
    return [WorkerProcess(state, name, int(pid)) for name, pid in pids if pid.isdecimal()]
