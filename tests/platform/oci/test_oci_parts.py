"""Finding the programs, and naming those that are missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.oci import parts

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("conmon", "skopeo", "umoci", "iptables", "ip", "unshare", "runc", "crun")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root file system that has every part."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    paths = [f"usr/bin/{name}" for name in PROGRAMS]
    paths += ["usr/lib/cni/bridge", "usr/lib/cni/host-local", "usr/share/containers/seccomp.json"]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch(mode=0o755)
    return tmp_path


def test_all_parts_are_found_and_crun_is_tried_first(machine: Path) -> None:
    found = parts.locate(root=machine)
    assert found.conmon == str(machine / "usr/bin/conmon")
    assert found.runtimes == (str(machine / "usr/bin/crun"), str(machine / "usr/bin/runc"))
    assert found.cni == machine / "usr/lib/cni"


def test_one_of_the_two_runtimes_is_enough(machine: Path) -> None:
    (machine / "usr/bin/crun").unlink()
    assert parts.locate(root=machine).runtimes == (str(machine / "usr/bin/runc"),)


def test_what_is_missing_is_named_with_the_line_that_installs_it(machine: Path) -> None:
    for path in ("usr/bin/conmon", "usr/lib/cni/bridge", "usr/bin/runc", "usr/bin/crun"):
        (machine / path).unlink()
    with pytest.raises(RuntimeUnavailable) as fault:
        parts.locate(root=machine)
    assert fault.value.detail == (
        "apt-get install -y --no-install-recommends conmon containernetworking-plugins crun"
    )


def test_without_root_another_runtime_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RuntimeUnavailable, match="--runtime docker"):
        parts.locate()
