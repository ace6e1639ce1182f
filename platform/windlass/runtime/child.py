"""One child process with its group, its output and its end; knows no driver.

Every process of an instance is in the process group, and the session, of its main process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import IO, TYPE_CHECKING, Literal

from windlass.model.instance import Exit
from windlass.runtime.output import Lines, Output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from windlass.runtime.cgroups import Group

# Records which process this is, enters the control groups, and becomes the command: so nothing of
# the command ever runs unrecorded or unlimited.
_SCRIPT = """
read -r stat < /proc/$$/stat && echo "$stat" > "$1" ||
    { echo "windlass: $1 cannot be written: is the disk full?" >&2; exit 125; }
shift
while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done
shift
exec "$@"
"""
_START_TIME = 19  # its place in /proc/PID/stat, counted after the command's name; see proc(5)
_LAST_WORDS = 1.0  # seconds in which the output of an ended child must be read


class Child:
    """A child process from its start until nothing of it is left."""

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        folder: str | None,
        record: Path,
        group: Group | None,
    ) -> None:
        """Start `command` in `folder`, recorded in `record`, limited by `group`.

        Raises:
            OSError: it could not be started.
        """
        entrances = [str(entrance) for entrance in group.entrances] if group else []
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", str(record), *entrances, "--", *command],
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=env,
            cwd=folder,
        )
        self._record, self._group = record, group
        self._was_killed = False
        self._streams = 2  # that are not at their end
        self._transports: list[asyncio.ReadTransport] = []
        self._silent = asyncio.Event()
        self.output = Output()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every process of the child; no fault if it has ended."""
        if self._process.returncode is None:  # not reaped: the number is still this child's
            self._was_killed = self._was_killed or number == signal.SIGKILL
            self._send_all(number)

    async def run(self) -> Exit:
        """Read the output until the main process ends; then end the others with it."""
        try:
            await self._read("stdout", self._process.stdout)
            await self._read("stderr", self._process.stderr)
            await exited(self._process.pid)
        except asyncio.CancelledError:
            self._close_pipes()
            raise
        self._send_all(signal.SIGKILL)  # before reaping, while no new group can have this number
        return self._explained(self._process.wait())

    async def _read(self, stream: Literal["stdout", "stderr"], pipe: IO[bytes] | None) -> None:
        lines = Lines(stream, self.output.append, self._finish_one)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: lines, pipe)
        self._transports.append(transport)

    async def clean(self) -> None:
        """Remove the record and the control group of an ended child, and close its pipes."""
        if self._group:
            await self._group.remove()
        self._record.unlink(missing_ok=True)
        # A process that left the session and is in no control group may hold the pipes open.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._silent.wait()
        self._close_pipes()

    def _send_all(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _explained(self, status: int) -> Exit:
        outcome = Exit(signal=-status) if status < 0 else Exit(code=status)
        by_itself = status == -signal.SIGKILL or status > 0
        if self._was_killed or not by_itself or not self._group or not self._group.memory_kills():
            return outcome
        reason = "out of memory: the instance reached its limit"
        return Exit(code=outcome.code, signal=outcome.signal, out_of_memory=True, reason=reason)

    def _finish_one(self) -> None:
        self._streams -= 1
        if not self._streams:
            self._silent.set()
            self.output.finish()

    def _close_pipes(self) -> None:
        for transport in self._transports:
            transport.close()
        for pipe in (self._process.stdout, self._process.stderr)[len(self._transports) :]:
            if pipe:
                pipe.close()


async def exited(pid: int) -> None:
    """Return when a process is gone or waits for its parent to notice.

    Raises:
        ProcessLookupError: there is no such process.
    """
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def recorded(record: Path) -> int | None:
    """Return the number of the process that a record names, if it still is that process."""
    written = record.read_text()
    pid = written.partition(" ")[0]
    if not pid or _start_time(written) != _start_time(_stat(pid)):
        return None  # gone, and its number may be someone else's by now
    return int(pid)


async def end_group(pid: int) -> None:
    """Kill a process and its group, and wait for it; no fault if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
        await exited(pid)


def _stat(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _start_time(stat: str) -> str:
    fields = stat.rpartition(")")[2].split()  # the name itself may contain anything
    return fields[_START_TIME] if len(fields) > _START_TIME else ""
