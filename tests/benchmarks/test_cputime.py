from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from windlass.bench.cputime import cpu_nanoseconds, tree

if TYPE_CHECKING:
    from pathlib import Path


def thread(proc: Path, pid: int, number: int, nanoseconds: int, children: str = "") -> None:
    directory = proc / str(pid) / "task" / str(number)
    directory.mkdir(parents=True)
    (directory / "schedstat").write_text(f"{nanoseconds} 77 3\n")
    (directory / "children").write_text(children)


def test_all_threads_of_all_descendants_count(tmp_path: Path) -> None:
    thread(tmp_path, 10, 10, 1, "20 ")
    thread(tmp_path, 10, 11, 10, "30 ")
    thread(tmp_path, 20, 20, 100, "40 ")
    thread(tmp_path, 30, 30, 1000)
    thread(tmp_path, 40, 40, 10000)
    thread(tmp_path, 50, 50, 100000)  # somebody else's
    assert sorted(tree(10, tmp_path)) == [10, 20, 30, 40]
    assert cpu_nanoseconds(10, tmp_path) == 11111


def test_work_of_this_process_shows() -> None:
    before, until = cpu_nanoseconds(os.getpid()), time.process_time_ns() + 20_000_000
    while time.process_time_ns() < until:
        pass
    assert cpu_nanoseconds(os.getpid()) - before >= 10_000_000
