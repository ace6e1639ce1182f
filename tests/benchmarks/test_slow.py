"""What slowhttptest says, and a short attack with it where it is installed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from windlass.bench.proxies import BACKEND
from windlass.bench.slow import TOOL, last_status, main

if TYPE_CHECKING:
    from pathlib import Path

SAID = """\x1b[H\x1b[2J
slow HTTP test status on \x1b[1m5th second:\x1b[0m

initializing:        \x1b[1m0\x1b[0m
pending:             \x1b[1m2\x1b[0m
connected:           \x1b[1m48\x1b[0m
error:               \x1b[1m0\x1b[0m
closed:              \x1b[1m0\x1b[0m
service available:   \x1b[1m\x1b[32mYES\x1b[0m
connected:           \x1b[1m50\x1b[0m
"""


def test_the_last_status_counts() -> None:
    said = last_status(SAID)
    assert said["connected"] == "50"
    assert said["service available"] == "YES"


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which(TOOL) and BACKEND.path()), reason="needs slowhttptest and nginx"
)
def test_the_normal_load_has_no_error_beside_an_attack(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ["--modes", "read", "--seconds", "2", "--rate", "20", "--connections", "20"]
    assert main([*options, "--out", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    assert results["read"]["requests"] == 40
    assert results["read"]["errors"] == results["read"]["held"] == 0
