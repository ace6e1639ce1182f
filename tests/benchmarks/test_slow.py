"""What slowhttptest says, and a short attack with it where it is installed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from windlass.bench.proxies import BACKEND, NGINX, WINDLASS
from windlass.bench.slow import TOOL, Stretch, is_noticed, last_status, main, summary
from windlass.bench.tally import Tally

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
@pytest.mark.parametrize(
    ("proxy", "modes"), [(WINDLASS, ["read", "idle"]), (NGINX, ["headers", "idle"])]
)
def test_the_normal_load_has_no_error_beside_an_attack(
    tmp_path: Path, proxy: str, modes: list[str]
) -> None:
    out = tmp_path / "figures.json"
    options = ["--seconds", "2", "--rounds", "1", "--rate", "20", "--connections", "20"]
    options += ["--proxy", proxy, "--modes", *modes]
    main([*options, "--out", str(out)])  # a stretch this short says nothing about its p99
    results = json.loads(out.read_text())["results"]
    assert list(results) == modes
    for figures in results.values():
        assert figures["requests"] == 40
        assert figures["errors"] == figures["held"] == 0
    assert results["idle"]["connected"] == "200"


def stretch(*latencies: int, errors: int = 0) -> Stretch:
    tally = Tally(0)
    for latency in latencies:
        tally.began()
        tally.answered(200, 0, 0, latency)
    for _ in range(errors):
        tally.began()
        tally.failed("reset", 1)
    return Stretch(tally.finish(1), 5_000_000)


def test_the_percentiles_are_those_of_all_stretches_together() -> None:
    alone = [stretch(*[1_000_000] * 99, 9_000_000), stretch(*[1_000_000] * 100)]
    beside = [stretch(*[1_000_000] * 100), stretch(*[3_000_000] * 100)]
    figures: dict[str, Any] = summary(alone, beside)
    assert figures["p99_ratio"] == pytest.approx(3, rel=0.02)
    assert figures["p99_ratio_of_rounds"] == pytest.approx([1, 3], rel=0.02)
    assert figures["router_cpu_ms"] == [10, 10]
    assert is_noticed({**figures, "held": 0})


def test_an_attack_is_not_noticed_only_if_all_is_as_without() -> None:
    calm = stretch(*[1_000_000] * 100)
    assert not is_noticed({**summary([calm], [calm]), "held": 0})
    assert is_noticed({**summary([calm], [calm]), "held": 1})
    assert is_noticed({**summary([calm], [stretch(*[1_000_000] * 100, errors=1)]), "held": 0})
