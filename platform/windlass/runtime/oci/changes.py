"""Tells when files change: one inotify for all folders, of which many machines allow a user 128."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from windlass.runtime.oci import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD = struct.Struct("iIII")  # of struct inotify_event: watch, mask, cookie, size of the name


class Changes:
    """All folders that are watched on the running loop."""

    def __init__(self) -> None:
        """Open the inotify.

        Raises:
            OSError: this user has too many.
        """
        self._inotify = kernel.inotify()
        self._watched: dict[int, list[asyncio.Event]] = {}
        asyncio.get_running_loop().add_reader(self._inotify, self._read)

    @contextmanager
    def of(self, folder: Path) -> Iterator[asyncio.Event]:
        """Yield an event that is set when a file in the folder is written, made or replaced.

        Raises:
            OSError: it cannot be watched.
        """
        changed = asyncio.Event()
        watch = kernel.add_watch(self._inotify, folder)  # the same for the same folder
        self._watched.setdefault(watch, []).append(changed)
        try:
            yield changed
        finally:
            self._watched[watch].remove(changed)
            if not self._watched[watch]:
                del self._watched[watch]
                if self._inotify >= 0:
                    kernel.remove_watch(self._inotify, watch)

    def close(self) -> None:
        """Watch nothing any more."""
        asyncio.get_running_loop().remove_reader(self._inotify)
        os.close(self._inotify)
        self._inotify = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            events, at = os.read(self._inotify, 65536), 0
            while at < len(events):
                watch, _, _, size = _HEAD.unpack_from(events, at)
                at += _HEAD.size + size
                self._tell(watch)

    def _tell(self, watch: int) -> None:
        lost = watch < 0  # there were more events than the kernel keeps
        told = self._watched.values() if lost else [self._watched.get(watch, [])]
        for waiting in told:
            for changed in waiting:
                changed.set()
