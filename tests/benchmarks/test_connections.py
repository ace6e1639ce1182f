"""Connections held at a real worker, and what is said about its memory."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from windlass.bench.connections import forget_highest, main, memory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_connections_are_held_and_bodies_pass(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    sizes = ["--idle", "150", "--websockets", "10", "--bytes", "3000000"]
    assert main([*sizes, "--out", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    bodies = {
        "down",
        "up",
        "down over HTTP/2",
        "up over HTTP/2",
        "down from HTTP/2",
        "up to HTTP/2",
    }
    assert set(results) == {*bodies, "idle", "websockets"}
    assert results["idle"]["connections"] == 150
    assert results["idle"]["lost"] == results["websockets"]["lost"] == 0
    for name in bodies:
        assert results[name]["kib_highest"] >= results[name]["kib_before"] > 0


def test_the_highest_memory_is_that_since_it_was_forgotten() -> None:
    own = os.getpid()
    block = bytearray(b"x") * (64 * 1024**2)
    assert memory(own, "VmHWM") >= memory(own) >= len(block) // 1024
    del block
    forget_highest(own)
    assert memory(own, "VmHWM") < memory(own) + 16 * 1024
