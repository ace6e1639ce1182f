"""The compiled modules are those of the sources, or they are not used."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from windlass.router import compiled

PACKAGE = Path(compiled.__file__).parent


def run(root: Path, code: str, **environment: str) -> str:
    """Run code with the router that lies under `root`; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A copy of the router in which `pool` passes for compiled."""
    package = tmp_path / "windlass" / "router"
    ignored = shutil.ignore_patterns("_compiled", "__pycache__")
    shutil.copytree(PACKAGE, package, ignore=ignored)
    compiled.directory(package).mkdir()
    (compiled.directory(package) / "pool.py").write_text("IS_COMPILED = True\n")
    compiled.write_note(package, compiled.digest(package))
    return package


POOL = "import windlass.router.pool as pool; print(hasattr(pool, 'IS_COMPILED'))"
HOW = "from windlass.router import compiled; print(compiled.describe())"


@pytest.mark.parametrize("name", compiled.MODULES)
def test_every_module_comes_from_where_it_is_said_to_come_from(name: str) -> None:
    module = importlib.import_module(f"windlass.router.{name}")
    assert module.__file__ is not None
    is_compiled = compiled.directory(PACKAGE) in Path(module.__file__).parents
    assert is_compiled == (compiled.why_pure(PACKAGE) == "")


def test_sources_that_were_compiled_are_not_interpreted(built: Path) -> None:
    assert run(built.parent.parent, POOL, WINDLASS_PURE="") == "True"
    assert run(built.parent.parent, HOW, WINDLASS_PURE="") == "compiled"


def test_an_edited_source_is_not_hidden_by_what_was_compiled_before(built: Path) -> None:
    with (built / "stats.py").open("a") as source:
        source.write("\n")
    assert run(built.parent.parent, POOL, WINDLASS_PURE="") == "False"
    how = run(built.parent.parent, HOW, WINDLASS_PURE="")
    assert how == "interpreted (changed since it was compiled)"


def test_the_environment_asks_for_pure_python(built: Path) -> None:
    assert run(built.parent.parent, POOL, WINDLASS_PURE="1") == "False"
    assert run(built.parent.parent, HOW, WINDLASS_PURE="1") == "interpreted (WINDLASS_PURE=1)"


def test_compiling_that_failed_is_said_and_not_tried_again(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(compiled.PURE, raising=False)
    monkeypatch.setattr(compiled, "missing_packages", list)
    compiled.write_note(built, compiled.digest(built), "pool.py:1: error: no such thing")
    assert compiled.why_pure(built) == "pool.py:1: error: no such thing"
    assert not compiled.is_due(built)
    (built / "stats.py").write_text("")
    assert compiled.is_due(built)


def test_nothing_is_compiled_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(compiled.PURE, raising=False)
    monkeypatch.setattr(compiled, "missing_packages", lambda: ["gcc"])
    assert compiled.why_pure(tmp_path) == "not compiled"
    assert not compiled.is_due(tmp_path)


@pytest.mark.skipif(bool(compiled.missing_packages()), reason="there is no compiler")
@pytest.mark.skipif(os.environ.get("CI") != "true", reason="only in CI it is sure to be compiled")
@pytest.mark.skipif(os.environ.get(compiled.PURE) == "1", reason="not wanted")
def test_the_router_is_compiled_where_it_can_be() -> None:
    assert compiled.describe() == "compiled"
