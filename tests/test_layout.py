"""The rules of the layout: no top-level folder may hide a module of the standard library."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE_ROOTS = ["platform", "router", "autoscaler", "benchmarks", "deploy"]


def test_platform_is_the_standard_librarys_in_the_test_run() -> None:
    assert platform.python_version()
    assert not str(platform.__file__).startswith(str(ROOT))


@pytest.mark.slow
def test_platform_is_the_standard_librarys_for_a_program_started_at_the_root() -> None:
    code = "import platform; print(platform.python_version())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == platform.python_version()


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_a_source_root_holds_nothing_in_python_but_windlass(root: str) -> None:
    outside = [
        path.relative_to(ROOT)
        for path in (ROOT / root).rglob("*.py")
        if path.relative_to(ROOT / root).parts[0] != "windlass"
    ]
    assert outside == []


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_neither_a_source_root_nor_its_windlass_is_a_package(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()
    assert not (ROOT / root / "windlass" / "__init__.py").exists()


def test_no_package_among_the_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
