"""The cgroup files that are written, in both versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windlass.runtime.oci.cgroups import Cgroups

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    files = {
        "freezer": {"freezer.state": "THAWED"},
        "cpu": {"cpu.cfs_quota_us": "-1"},
        "memory": {
            "memory.limit_in_bytes": "1024\n",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        },
    }
    for controller, contents in files.items():
        folder = tmp_path / controller / "windlass" / "box"
        folder.mkdir(parents=True)
        for name, text in contents.items():
            (folder / name).write_text(text)
    (tmp_path / "memory/memory.memsw.limit_in_bytes").write_text("")
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    folder = tmp_path / "windlass" / "box"
    folder.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    for name, text in {
        "cgroup.freeze": "0",
        "cpu.max": "max 100000",
        "memory.max": "1024\n",
        "memory.events": "low 0\noom 1\noom_kill 3\noom_group_kill 0\n",
    }.items():
        (folder / name).write_text(text)
    return tmp_path


def test_version_1_freezes_thaws_limits_and_counts(v1: Path) -> None:
    groups = Cgroups("windlass", v1)
    groups.freeze("box")
    assert (v1 / "freezer/windlass/box/freezer.state").read_text() == "FROZEN"
    groups.thaw("box")
    assert (v1 / "freezer/windlass/box/freezer.state").read_text() == "THAWED"
    groups.limit_cpu("box", 500)
    assert (v1 / "cpu/windlass/box/cpu.cfs_quota_us").read_text() == "50000"
    assert groups.memory_kills("box") == 2
    assert groups.memory_limit("box") == 1024
    assert groups.limits_swap


def test_version_2_freezes_thaws_limits_and_counts(v2: Path) -> None:
    groups = Cgroups("windlass", v2)
    groups.freeze("box")
    assert (v2 / "windlass/box/cgroup.freeze").read_text() == "1"
    groups.thaw("box")
    assert (v2 / "windlass/box/cgroup.freeze").read_text() == "0"
    groups.limit_cpu("box", 500)
    assert (v2 / "windlass/box/cpu.max").read_text() == "50000 100000"
    assert groups.memory_kills("box") == 3
    assert groups.memory_limit("box") == 1024
    assert groups.limits_swap


def test_a_kernel_without_swap_accounting_is_noticed(v1: Path) -> None:
    (v1 / "memory/memory.memsw.limit_in_bytes").unlink()
    assert not Cgroups("windlass", v1).limits_swap


def test_a_container_that_is_gone_is_not_made_again_by_writing(v1: Path) -> None:
    groups = Cgroups("windlass", v1)
    with pytest.raises(FileNotFoundError):
        groups.freeze("gone")
    assert groups.memory_kills("gone") == 0
    assert not (v1 / "freezer/windlass/gone").exists()


def test_every_hierarchy_is_asked_for_the_names(v1: Path) -> None:
    (v1 / "cpu/windlass/left").mkdir()
    groups = Cgroups("windlass", v1)
    assert groups.names() == {"box", "left"}
    groups.clear("left")
    assert groups.names() == {"box"}
