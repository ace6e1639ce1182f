"""The files for Grafana and Prometheus, and the page that says what is measured."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from windlass.deploy.cli.commands import windlass
from windlass.deploy.grafana.files import dashboard, files, rules
from windlass.deploy.grafana.queries import ALERTS, PANELS, RATE, Alert
from windlass.telemetry.metrics import Counters

PAGE = Path(__file__).parents[3] / "docs" / "prometheus.md"


def test_every_panel_has_a_place_of_its_own_and_a_query() -> None:
    panels = dashboard()["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len(PANELS)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_knows_nothing_of_grafanas_variables() -> None:
    assert RATE in json.dumps(dashboard())
    assert "$__" not in yaml.safe_dump(rules())


def test_the_files_are_written_where_the_user_wants_them(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    words = ["grafana", "--out", str(out), "--server", "http://10.0.0.7:8090"]
    done = CliRunner().invoke(windlass, words)
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == set(files(""))
    scraped = yaml.safe_load((out / "prometheus.yaml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"][0]["targets"] == ["10.0.0.7:8090"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(windlass, ["grafana", "--out", str(tmp_path / "file" / "x")])
    assert done.exit_code == 1
    assert "Not a directory" in done.output


def test_promtool_finds_nothing_wrong_with_the_rules(tmp_path: Path) -> None:
    for name, text in files("127.0.0.1:8090").items():
        (tmp_path / name).write_text(text)
    for words in (["rules", "windlass-alerts.yaml"], ["config", "prometheus.yaml"]):
        done = subprocess.run(
            ["promtool", "check", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{len(ALERTS)} rules found" in done.stdout


def test_the_page_has_every_metric_and_no_other() -> None:
    known = set()
    for family in Counters((1,)).collect():
        known.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert set(re.findall(r"^\| `(windlass_\w+)`", PAGE.read_text(), re.M)) == known


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_page_has_every_alert(alert: Alert) -> None:
    assert f"`{alert.name}`" in PAGE.read_text()
