"""conmon, one beside each container: it has the container made, keeps its log and its exit status,
and outlives the platform."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

import msgspec

from windlass.runtime.oci.commands import SEARCHED, CommandFailed, ended, spawn
from windlass.runtime.oci.kernel import readable

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

    from windlass.runtime.oci.launcher import Launcher

# It reads its locale's files at each start otherwise, and the runtimes need nothing more.
ENV = {"PATH": SEARCHED}
_COMPLAINTS = "conmon.err"


class Report(msgspec.Struct):
    """What conmon says once the runtime has made the container, or has not."""

    pid: int  # below 0: it has not
    message: str = ""


class Conmon:
    """A conmon that waits until it is told to have its container made."""

    def __init__(
        self, bundle: Path, process: subprocess.Popen[bytes], start: int, report: int
    ) -> None:
        """Take over the pipe that it waits at, and the one that it tells the outcome by."""
        self.bundle = bundle
        self._process, self._start, self._report = process, start, report
        self._begun = False

    @classmethod
    def launch(cls, command: Sequence[str], bundle: Path, launcher: Launcher) -> Self:
        """Start one by its command line.

        Raises:
            OSError: it could not be started.
        """
        go, start = os.pipe()
        report, said = os.pipe()
        try:
            with (bundle / _COMPLAINTS).open("wb") as complaints:
                process = launcher.call(
                    spawn,
                    command,
                    complaint=complaints,
                    env=ENV | {"_OCI_STARTPIPE": str(go), "_OCI_SYNCPIPE": str(said)},
                    cwd=bundle,
                    kept=(go, said),
                )
        except BaseException:
            os.close(start)
            os.close(report)
            raise
        finally:
            os.close(go)
            os.close(said)
        return cls(bundle, process, start, report)

    def waits(self) -> bool:
        """Say whether it is still there."""
        return self._process.poll() is None

    async def begin(self) -> Report:
        """Tell it to, and return what it says of the outcome.

        It leaves a child behind that lives as long as the container.

        Raises:
            CommandFailed: it ended without a word.
        """
        self._begun = True
        try:
            with contextlib.suppress(BrokenPipeError):  # its status will say how it ended
                os.write(self._start, b"\0")
            status = await ended(self._process)
            await readable(self._report)
            said = os.read(self._report, 65536)
        finally:
            os.close(self._start)
            os.close(self._report)
        if not said:
            complaint = (self.bundle / _COMPLAINTS).read_text(errors="replace").strip()
            raise CommandFailed("conmon", status, complaint or "it ended without a word")
        return msgspec.json.decode(said, type=Report)

    def close(self) -> None:
        """End one that was not told to begin."""
        if self._begun:
            return
        self._begun = True
        self._process.kill()
        self._process.wait()
        os.close(self._start)
        os.close(self._report)
