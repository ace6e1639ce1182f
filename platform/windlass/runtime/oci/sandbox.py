"""One container from its folder to its end: the writable layer, conmon's and its own process, and
how it ended. Does not know which instance, if any, it serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import msgspec

from windlass.model.instance import Exit
from windlass.runtime.oci import orphan
from windlass.runtime.oci.kernel import mount, readable, unmount

WRITABLE = "writable"  # the folder of a container in which what is in memory is mounted


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a later platform must know of a container; a file in its folder."""

    name: str
    service: str
    revision: str
    image: str  # id
    host: str
    port: int
    instance: str = ""  # empty: stands by


class Sandbox:
    """A container that was made."""

    def __init__(self, folder: Path, record: Record, process: int, conmon: int | None) -> None:
        """Take over the pidfds of the container's first process and of conmon, if it lives."""
        self.folder, self.record = folder, record
        self.made = time.time()
        self.started, self.ended = asyncio.Event(), asyncio.Event()
        self.killed = False  # by us
        self._process, self._conmon = process, conmon

    @property
    def log(self) -> Path:
        return self.folder / "log" / "log"

    def assign(self, instance: str) -> None:
        """Write down which instance the container serves."""
        self.record = msgspec.structs.replace(self.record, instance=instance)
        write_record(self.folder, self.record)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the container's first process; no fault if it is gone."""
        if number is signal.SIGKILL:
            self.killed = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, number)

    async def wait(self) -> Exit:
        """Return how the container ended, once it has."""
        if self._conmon is not None:
            await readable(self._conmon)
        file = self.folder / "exit" / self.record.name
        if file.exists():
            return exit_of(int(file.read_text()))
        # conmon was killed. The instance goes on serving; only its exit status is lost.
        pid = int((self.folder / "container.pid").read_text())
        await asyncio.gather(readable(self._process), orphan.drain(pid, self.log))
        return Exit(reason="conmon, which would know the exit status, was killed before")

    def close(self) -> None:
        """Let go of the processes; they live on."""
        os.close(self._process)
        if self._conmon is not None:
            os.close(self._conmon)


def exit_of(status: int) -> Exit:
    """Translate conmon's exit status: 128 + N is signal N, as in a shell."""
    if 128 < status < 128 + signal.NSIG:
        return Exit(signal=status - 128)
    return Exit(code=status)


def write_record(folder: Path, record: Record) -> None:
    """Write the record so that a crash leaves the old or the new one."""
    partial = folder / "record.partial"
    partial.write_bytes(msgspec.json.encode(record))
    partial.rename(folder / "record.json")


def lay_root(folder: Path, image: Path, memory: int) -> Path:
    """Mount the image's files with a writable layer of the instance's own; return where.

    The layer is in memory, as on Cloud Run: the kernel counts it in the instance's limit, and no
    instance can fill the disk.

    Raises:
        OSError: the kernel refused.
    """
    writable, root = folder / WRITABLE, folder / "rootfs"
    writable.mkdir()
    root.mkdir()
    mount("tmpfs", writable, "tmpfs", options=f"size={memory},mode=0700")
    (writable / "upper").mkdir()
    (writable / "upper").chmod(0o755)  # of / in the instance, whatever the image says, as Docker
    (writable / "work").mkdir()
    layers = f"lowerdir={_escaped(image)},upperdir={_escaped(writable / 'upper')}"
    mount("overlay", root, "overlay", options=f"{layers},workdir={_escaped(writable / 'work')}")
    return root


def _escaped(path: Path) -> str:
    text = str(path).replace("\\", "\\\\")
    return text.replace(":", "\\:").replace(",", "\\,")


def clear(folder: Path) -> None:
    """Unmount what lay_root mounted and remove a container's folder; no fault if it is gone.

    Raises:
        OSError: a mount is still there, so that nothing below it was removed.
    """
    for name in ("rootfs", WRITABLE):
        unmount(folder / name)
        with contextlib.suppress(FileNotFoundError):
            (folder / name).rmdir()
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def find(folder: Path) -> Sandbox | None:
    """Take hold of the container of a folder, if its first process lives."""
    try:
        record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    # A pid may be another's by now: each must show that it belongs to this folder.
    process = _hold(folder / "container.pid", "cgroup", f"/{record.name}\n")
    if process is None:
        return None
    conmon = _hold(folder / "conmon.pid", "cmdline", f"\0{folder}\0")
    return Sandbox(folder, record, process, conmon)


def _hold(file: Path, table: str, sign: str) -> int | None:
    """Return a pidfd of the process that the file names, if its /proc table has the sign."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        descriptor = os.pidfd_open(pid)
        with contextlib.suppress(OSError):
            if os.fsencode(sign) in Path(f"/proc/{pid}/{table}").read_bytes():
                return descriptor
        os.close(descriptor)
    return None
