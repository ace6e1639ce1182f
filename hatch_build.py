"""Compiles the router's hot path with mypyc when Windlass is built or installed.

Without a compiler, or with WINDLASS_PURE=1, the same sources are interpreted.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("router/windlass/router")

# Runs apart, in a directory of its own: mypyc ends the process it runs in when it finds an error.
COMPILE = """
import sys
from mypyc.build import mypycify
from setuptools import setup
group, *paths = sys.argv[1:]
options = ["--explicit-package-bases", "--ignore-missing-imports", "--config-file="]
setup(
    name="hot",
    ext_modules=mypycify([*options, *paths], group_name=group, opt_level="2", debug_level="0"),
    script_args=["-q", "build_ext", "--build-lib", "built", "--build-temp", "objects"],
)
"""


class CompileHook(BuildHookInterface[Any]):
    """What hatchling calls before it puts a wheel together, be it an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile if the sources changed, and take what was compiled into the wheel."""
        root = Path(self.root)
        package = root / PACKAGE
        compiled = _load(package / "compiled.py")
        if compiled.is_due(package):
            sources = compiled.digest(package)  # as they are now: they may change meanwhile
            fault = _compile(root, compiled)
            compiled.directory(package).mkdir(exist_ok=True)
            compiled.write_note(package, sources, fault)
        if reason := compiled.why_pure(package):
            if packages := compiled.missing_packages():
                reason += f"; to compile it takes {' and '.join(packages)} (Debian's names)"
            self.app.display_warning(f"The router is not compiled: {reason}.")
        elif version != "editable":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(f"/{PACKAGE}/_compiled/*")


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(root: Path, compiled: Any) -> str:
    """Compile into the package's directory; return what went wrong, empty: nothing."""
    with tempfile.TemporaryDirectory(prefix="windlass-compile-") as name:
        work = Path(name)
        hot = work / "windlass" / "router"
        ignore = shutil.ignore_patterns("_compiled", "__pycache__")
        shutil.copytree(root / PACKAGE, hot, ignore=ignore)
        paths = [f"windlass/router/{module}.py" for module in compiled.MODULES]
        done = subprocess.run(
            [sys.executable, "-c", COMPILE, compiled.GROUP, *paths],
            cwd=work,
            env={**os.environ, "MYPYPATH": f"{work}:{root / 'platform'}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            said = [line for line in done.stdout.splitlines() if "error" in line]
            return "; ".join(said)[:500] or f"mypyc ended with status {done.returncode}"
        target = compiled.directory(root / PACKAGE)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work / "built" / "windlass" / "router", target)
        return ""
