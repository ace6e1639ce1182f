from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windlass.model.service import MIB, Limits
from windlass.runtime import cgroups

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"


def mounted(tmp_path: Path, *lines: str) -> Path:
    """Write a table of mounts as /proc/self/mountinfo has it."""
    table = tmp_path / "mountinfo"
    table.write_text(MACHINE + "".join(f"{line}\n" for line in lines))
    return table


def member_of(tmp_path: Path, group: str) -> Path:
    membership = tmp_path / "membership"
    membership.write_text(f"0::{group}\n")
    return membership


def version_2(folder: Path, controllers: str, enabled: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(enabled)
    (folder / "cgroup.procs").touch()


def test_version_1_has_a_folder_in_each_hierarchy(tmp_path: Path) -> None:
    memory, cpu = tmp_path / "memory", tmp_path / "cpu,cpuacct"
    memory.mkdir()
    cpu.mkdir()
    table = mounted(
        tmp_path,
        f"33 32 0:29 / {cpu} rw,nosuid shared:14 - cgroup cgroup rw,cpu,cpuacct",
        f"34 32 0:30 / {memory} rw,nosuid - cgroup cgroup rw,memory",
        f"35 32 0:31 / {tmp_path}/unified rw - cgroup2 cgroup2 rw",
    )
    groups = cgroups.find("ours", table, member_of(tmp_path, "/"))
    assert groups == cgroups.Groups(1, {"memory": memory / "ours", "cpu": cpu / "ours"})


def test_version_2_has_one_folder_for_all_controllers(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    version_2(root, "cpuset cpu io memory pids", "memory")
    table = mounted(tmp_path, f"30 24 0:26 / {root} rw - cgroup2 cgroup2 rw,nsdelegate")
    groups = cgroups.find("ours", table, member_of(tmp_path, "/"))
    assert groups is not None
    assert (groups.version, set(groups.parents)) == (2, {"memory", "cpu", "pids"})
    assert set(groups.parents.values()) == {root / "ours"}
    assert (root / "cgroup.subtree_control").read_text().startswith("+cpu +pids")


def test_a_user_has_the_nearest_delegated_folder_above(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    delegated = root / "user.slice/user@1000.service"
    version_2(delegated, "memory cpu pids", "memory cpu pids")
    version_2(delegated / "app.slice", "memory pids", "memory pids")  # without cpu: of no use
    (delegated / "app.slice" / "terminal.scope").mkdir()
    table = mounted(tmp_path, f"30 24 0:26 / {root} rw - cgroup2 cgroup2 rw")
    membership = member_of(tmp_path, "/user.slice/user@1000.service/app.slice/terminal.scope")
    groups = cgroups.find("ours", table, membership)
    assert groups is not None
    assert set(groups.parents.values()) == {delegated / "ours"}


@pytest.mark.parametrize("controllers", ["", "memory pids", "cpu"])
def test_without_memory_and_cpu_no_group_can_be_made(tmp_path: Path, controllers: str) -> None:
    root = tmp_path / "cgroup"
    version_2(root, controllers, controllers)
    table = mounted(tmp_path, f"30 24 0:26 / {root} rw - cgroup2 cgroup2 rw")
    assert cgroups.find("ours", table, member_of(tmp_path, "/")) is None


def test_without_control_groups_there_is_none(tmp_path: Path) -> None:
    assert cgroups.find("ours", mounted(tmp_path), member_of(tmp_path, "/")) is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, {"memory.limit_in_bytes": "1048576", "cpu.cfs_quota_us": "25000"}),
        (2, {"memory.max": "1048576", "memory.swap.max": "0", "cpu.max": "25000 100000"}),
    ],
)
def test_limits_become_the_kernels_files(version: int, expected: dict[str, str]) -> None:
    written = cgroups.settings(version, Limits(memory=MIB, milli_cpu=250))
    assert expected.items() <= {file: value for _, file, value in written}.items()


def test_no_quota_is_below_what_the_kernel_takes() -> None:
    assert ("cpu", "cpu.max", "1000 100000") in cgroups.settings(2, Limits(milli_cpu=1))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ("memory.events", "low 0\nmax 12\noom 4\noom_kill 3\noom_group_kill 0\n"),
    ],
)
def test_memory_kills_are_counted_on_both_versions(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    assert cgroups.Group((tmp_path / "elsewhere", tmp_path)).memory_kills() == 3
