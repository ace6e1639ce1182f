"""The system calls that Python 3.11 does not offer: mount, umount2, unshare and inotify."""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

READ_ONLY, BIND, REMOUNT = 1, 4096, 32
_RECURSIVE, _PRIVATE = 16384, 1 << 18
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_DETACH, _NOFOLLOW = 2, 8
_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_INVALID, _ABSENT = 22, 2  # errno: not a mount point, no such path


def mount(source: Path | str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount as mount(2) does.

    Raises:
        OSError: the kernel refused.
    """
    words = (os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode())
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[4]):
        raise _refusal(os.fspath(target))


def unmount(target: Path) -> None:
    """Take a mount out of sight at once; it goes when its last user does. No fault if none is."""
    if _libc.umount2(os.fsencode(target), _DETACH | _NOFOLLOW):
        error = ctypes.get_errno()
        if error not in (_INVALID, _ABSENT):
            raise OSError(error, os.strerror(error), os.fspath(target))


def leave_mounts(target: Path) -> None:
    """Give the calling thread mounts of its own, of which no other sees what is done in `target`.

    Raises:
        OSError: the kernel refused.
    """
    if _libc.unshare(_NEW_MOUNTS):
        raise _refusal("a mount namespace")
    mount("none", target, "", _RECURSIVE | _PRIVATE)


def inotify() -> int:
    """Return the descriptor of a new inotify that does not block.

    Raises:
        OSError: this user has too many.
    """
    descriptor = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1: see fs.inotify.max_user_instances")
    return descriptor


def add_watch(descriptor: int, folder: Path) -> int:
    """Return the watch of a folder's files that are written, made or replaced.

    Raises:
        OSError: it is not there, or this user has too many.
    """
    kinds = _MODIFY | _MOVED_TO | _CREATE
    watch = int(_libc.inotify_add_watch(descriptor, os.fsencode(folder), kinds))
    if watch < 0:
        raise _refusal(os.fspath(folder))
    return watch


def remove_watch(descriptor: int, watch: int) -> None:
    """Watch a folder no more; no fault if it is gone."""
    _libc.inotify_rm_watch(descriptor, watch)


async def readable(fd: int) -> None:
    """Return when a file descriptor can be read; a pidfd can be when its process is gone."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _resolve, waiting)
    try:
        await waiting
    finally:
        loop.remove_reader(fd)


def _resolve(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _refusal(what: str) -> OSError:
    """Return the error of the last system call."""
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error), what)
