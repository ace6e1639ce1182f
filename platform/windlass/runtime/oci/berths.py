"""Places for containers: a network namespace, and conmon, which waits to be told to make one there.

A few are made ahead, because making one takes longer than starting a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from windlass.runtime.oci.commands import CommandFailed

if TYPE_CHECKING:
    from pathlib import Path

    from windlass.runtime.oci.conmon import Conmon
    from windlass.runtime.oci.engine import Engine
    from windlass.runtime.oci.network import Attachment, Network

log = structlog.get_logger(__name__)

QUIET = 0.2  # seconds without a start before the pool is filled again
PAUSE = 0.05  # seconds between two that are made ahead: others want the processors, too


@dataclass(frozen=True, slots=True)
class Berth:
    """A place for one container, which has the name of its network namespace."""

    folder: Path
    attachment: Attachment
    conmon: Conmon

    @property
    def name(self) -> str:
        return self.attachment.name


class Berths:
    """Makes berths, some of them ahead; each one's folder is in that of all containers."""

    def __init__(self, folder: Path, engine: Engine, network: Network, ahead: int) -> None:
        self._folder, self._engine, self._network = folder, engine, network
        self._ahead = ahead
        self._pool: deque[Berth] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._taken = -math.inf  # when a berth was taken last, by the loop's clock

    async def prove(self) -> None:
        """Make the first berth of the pool, so that a machine that cannot shows it at once.

        Raises:
            CommandFailed, OSError: it could not be made.
        """
        self._pool.append(await self._make())
        self._fill_again()

    async def take(self) -> Berth:
        """Return a berth, from the pool where one is there; it is the caller's from now on.

        Raises:
            CommandFailed, OSError: none could be made.
        """
        self._taken = asyncio.get_running_loop().time()
        self._fill_again()
        while self._pool:
            berth = self._pool.popleft()
            if berth.conmon.waits():
                return berth
            self._remove(berth)
        return await self._make()

    async def close(self) -> None:
        """Give back what was made ahead."""
        if self._filling:
            self._filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._filling
        while self._pool:
            self._remove(self._pool.popleft())

    async def _make(self) -> Berth:
        attachment = await self._network.make()
        folder = self._folder / attachment.name
        try:
            folder.mkdir(parents=True)
            return Berth(folder, attachment, self._engine.launch(attachment.name, folder))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            self._network.release(attachment.name)
            raise

    def _remove(self, berth: Berth) -> None:
        berth.conmon.close()
        shutil.rmtree(berth.folder)
        self._network.release(berth.name)

    def _fill_again(self) -> None:
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._pool) < self._ahead:
                await asyncio.sleep(PAUSE)
                if asyncio.get_running_loop().time() - self._taken >= QUIET:
                    self._pool.append(await self._make())
        except (CommandFailed, OSError) as error:
            # The next start makes its own, and reports the fault where it hurts.
            log.warning("no network namespace could be made ahead", error=str(error))
