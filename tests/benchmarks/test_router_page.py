"""Figures go from the results onto the page, and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from windlass.bench.router_page import BEGIN, END, main

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = {
    "machine": {
        "processor": "A chip",
        "cores": 2,
        "kernel": "6",
        "python": "3.11",
        "date": "2026-01-02",
    },
    "settings": {"rounds": 5, "seconds": 3},
    "small": {
        "direct": {"requests_per_second": 9},
        "windlass": {"cpu_us_per_request": 21.25, "ratio_to_nginx": 0.97, "p99_ms": 3.5},
    },
    "large_upload": {"nginx": {"cpu_us_per_mib": 400.0, "ratio_to_nginx": 1.0}},
    "idle": {"nginx": {"connections": 10, "kib_per_connection": 0.5}},
}


def write(tmp_path: Path, page: str) -> int:
    (tmp_path / "results.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "page.md").write_text(page)
    return main(["--results", str(tmp_path / "results.json"), "--page", str(tmp_path / "page.md")])


def test_figures_stand_between_the_marks_and_the_rest_stays(tmp_path: Path) -> None:
    assert write(tmp_path, f"above\n{BEGIN}\nold\n{END}\nbelow\n") == 0
    page = (tmp_path / "page.md").read_text()
    assert page.startswith(f"above\n{BEGIN}\n")
    assert page.endswith(f"{END}\nbelow\n")
    assert "| windlass | 21.2 | 0.97 |  |  | 3.50 |  |" in page
    assert "| direct |  |  | 9 |  |  |  |" in page
    assert "| nginx | 10 | 0.50 |" in page
    assert "old" not in page
    again = page
    assert write(tmp_path, page) == 0
    assert (tmp_path / "page.md").read_text() == again


def test_the_plot_has_a_bar_for_every_ratio(tmp_path: Path) -> None:
    write(tmp_path, f"{BEGIN}{END}")
    root = ElementTree.parse(tmp_path / "page.svg").getroot()
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("class")]
    assert [(bar.get("class"), bar.get("width")) for bar in bars] == [
        ("ours", "48.5"),
        ("theirs", "50.0"),
    ]


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    assert write(tmp_path, "nothing\n") == 1
    assert (tmp_path / "page.md").read_text() == "nothing\n"
