"""The comparisons that were started from the dashboard: one at a time, each in its own process.

A run goes on when its page is closed, and ends when it is cancelled or the platform stops. What
was deployed for it is deleted whatever happens: by its process, else here, at the latest when the
platform starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from windlass.bench.compare import check
from windlass.bench.show import title
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.comparison.views import Job, ModeView, RunView, Word
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from windlass.deploy.comparison.settings import Asked

KEPT = 10  # runs, the latest
CANCELLED_WITHIN = 60.0  # seconds, until its process is killed
LAST_WORDS = 5  # lines of its log that are shown when the process breaks down
MAX_WORD = 16 * 1024**2  # bytes
COMMAND = (sys.executable, "-m", "windlass.deploy.comparison.process")
log = structlog.get_logger(__name__)


class Runs:
    """Starts, cancels and remembers runs."""

    def __init__(
        self,
        directory: Path,
        server: str,
        delete: Callable[[str], Awaitable[None]],
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Begin with nothing.

        Args:
            directory: where runs and their reports are kept.
            server: the platform's admin address, for the process.
            delete: deletes a service by name; Refused where there is none.
            command: the process that does the job on its stdin.
        """
        self._directory, self._server, self._command = directory, server, command
        self._delete = delete
        self._process: asyncio.subprocess.Process | None = None
        self._following: asyncio.Task[None] | None = None
        self._cancelled = False
        self._starting = asyncio.Lock()
        self._cleaning: list[asyncio.Task[None]] = []
        self.known: list[RunView] = []  # the latest first

    @property
    def latest(self) -> RunView | None:
        """The run that goes on, else the last one; None: there was none."""
        return self.known[0] if self.known else None

    def open(self) -> None:
        """Take up what an earlier life of the platform kept, and begin to delete what it left."""
        for file in sorted(self._directory.glob("*/run.json"), reverse=True):
            try:
                run = msgspec.json.decode(file.read_bytes(), type=RunView)
            except (OSError, msgspec.DecodeError) as error:
                log.warning("compare.unreadable", file=str(file), why=str(error))
                continue
            self.known.append(run)
            if run.state == "running":
                run.state, run.why = "failed", "The platform was stopped meanwhile."
                self._cleaning.append(asyncio.create_task(self._clean_up(run)))

    async def close(self) -> None:
        """Cancel what goes on; what is not cleaned up by now is at the next start."""
        await self.cancel()
        for task in self._cleaning:
            task.cancel()
        if self._cleaning:
            await asyncio.wait(self._cleaning)

    async def start(self, asked: Asked) -> RunView:
        """Start a run.

        Raises:
            Refused: another one goes on (409), a setting makes no sense (422), or nothing can be
                kept (503).
        """
        try:
            check(asked.settings)
        except ValueError as error:
            detail = f"The comparison makes no sense: {error}."
            raise Refused(problem(422, "invalid", detail)) from error
        async with self._starting:
            if self._following is not None:
                detail = "A comparison runs already; wait for its end, or cancel it."
                raise Refused(problem(409, "comparison-runs", detail))
            begun = time.time()
            run = RunView(
                id=f"{int(begun)}-{secrets.token_hex(3)}",
                title=title(asked.settings),
                settings=asked.settings,
                begun=begun,
                modes={Mode.CLOUDRUN: ModeView(), Mode.LAMBDA: ModeView()},
            )
            try:
                process = await self._spawn(run, asked)
            except OSError as error:
                detail = f"The comparison cannot be started: {error.strerror}."
                raise Refused(problem(503, "state-unavailable", detail)) from error
            self._process, self._cancelled = process, False
            self.known.insert(0, run)
            self._keep(run)
            self._following = asyncio.create_task(self._follow(run, process))
        log.info("compare.started", run=run.id, title=run.title)
        return run

    async def cancel(self) -> None:
        """Stop the run that goes on, if one does, and return when it is cleaned up."""
        process, following = self._process, self._following
        if process is None or following is None:
            return
        self._cancelled = True
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        done, _ = await asyncio.wait({following}, timeout=CANCELLED_WITHIN)
        if not done:
            log.warning("compare.killed", after=CANCELLED_WITHIN)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait({following})

    def report(self, run: str) -> Path | None:
        """Return the report of a run; None: there is none."""
        known = any(one.id == run and one.is_reported for one in self.known)
        return self._directory / run / "report.html" if known else None

    async def _spawn(self, run: RunView, asked: Asked) -> asyncio.subprocess.Process:
        """Start the process and give it its job."""
        place = self._directory / run.id
        place.mkdir(parents=True, mode=0o700)
        job = Job(
            server=self._server,
            settings=asked.settings,
            template=asked.template,
            report=str(place / "report.html"),
        )
        with (place / "log").open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                limit=MAX_WORD,
                start_new_session=True,  # Ctrl-C is for the platform, which then cancels it
            )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        return process

    async def _follow(self, run: RunView, process: asyncio.subprocess.Process) -> None:
        """Take the process' words until it ends, then clean up after it."""
        try:
            code = await self._hear(run, process)
            if self._cancelled and run.state != "ended":
                run.state, run.why = "cancelled", ""
            elif run.state == "running":
                run.state = "failed"
                run.why = f"Its process ended with code {code}. {self._last_words(run)}"
            await self._clean_up(run)
        finally:
            self._process = self._following = None
        log.info("compare.ended", run=run.id, state=run.state, why=run.why)

    async def _hear(self, run: RunView, process: asyncio.subprocess.Process) -> int:
        """Take the process' words; return its exit code."""
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                before = len(run.services)
                run.take(msgspec.json.decode(line, type=Word))
                if len(run.services) > before:
                    self._keep(run)  # so that it is deleted even if the platform dies now
        except (ValueError, msgspec.DecodeError) as error:
            log.error("compare.word", why=str(error))
            process.kill()
        return await process.wait()

    async def _clean_up(self, run: RunView) -> None:
        """Delete the services of a run that are still there, and write it down as over."""
        for name in run.services:
            try:
                await self._delete(name)
            except Refused as refused:
                if refused.problem.status != 404:
                    log.error("compare.left", service=name, why=str(refused))
        self._keep(run)

    def _keep(self, run: RunView) -> None:
        """Write a run down, and forget the oldest ones."""
        place = self._directory / run.id
        try:
            place.mkdir(parents=True, exist_ok=True)
            fresh = place / "run.json.new"
            fresh.write_bytes(msgspec.json.encode(run))
            fresh.replace(place / "run.json")
        except OSError as error:
            log.error("compare.unkept", run=run.id, why=str(error))
        for old in self.known[KEPT:]:
            shutil.rmtree(self._directory / old.id, ignore_errors=True)
        del self.known[KEPT:]

    def _last_words(self, run: RunView) -> str:
        try:
            lines = (self._directory / run.id / "log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return " ".join(lines[-LAST_WORDS:])
