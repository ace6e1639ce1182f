"""Folders that are watched through one inotify."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from windlass.runtime.oci.changes import Changes

if TYPE_CHECKING:
    from pathlib import Path


async def is_told(changed: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(5):
            await changed.wait()
    except TimeoutError:
        return False
    changed.clear()
    return True


async def test_each_folder_tells_its_own_watchers_only(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    changes = Changes()
    with changes.of(one) as first, changes.of(one) as second, changes.of(other) as third:
        (one / "file").write_text("x")
        assert await is_told(first)
        assert await is_told(second)
        assert not third.is_set()
        (other / "file").write_text("x")
        assert await is_told(third)
    changes.close()


async def test_a_watch_lasts_as_long_as_its_last_watcher(tmp_path: Path) -> None:
    changes = Changes()
    with changes.of(tmp_path) as first:
        with changes.of(tmp_path):
            pass
        (tmp_path / "file").write_text("x")
        assert await is_told(first)
    with changes.of(tmp_path) as again:
        (tmp_path / "file").unlink()
        (tmp_path / "file").write_text("y")
        assert await is_told(again)
    changes.close()


async def test_a_folder_may_go_and_the_watch_be_closed_before_its_watchers(tmp_path: Path) -> None:
    changes = Changes()
    gone = tmp_path / "gone"
    gone.mkdir()
    with changes.of(gone), changes.of(tmp_path):
        gone.rmdir()
        changes.close()


async def test_many_folders_take_one_descriptor(tmp_path: Path) -> None:
    changes = Changes()
    before = len(os.listdir("/proc/self/fd"))
    folders = [tmp_path / f"{number}" for number in range(300)]
    watches = [changes.of(folder) for folder in folders]
    for folder, watch in zip(folders, watches, strict=True):
        folder.mkdir()
        watch.__enter__()
    assert len(os.listdir("/proc/self/fd")) == before
    for watch in watches:
        watch.__exit__(None, None, None)
    changes.close()
