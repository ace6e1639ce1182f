"""Writes the queries as what Grafana and Prometheus read: a dashboard, rules, and a scrape job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from windlass.deploy.grafana.queries import ALERT_RATE, ALERTS, PANELS, RATE

if TYPE_CHECKING:
    from windlass.deploy.grafana.queries import Alert, Panel

WIDTH, HEIGHT, COLUMNS = 12, 8, 2  # of a panel, in Grafana's grid of 24 columns
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def files(admin: str) -> dict[str, str]:
    """Return each file's text by its name; `admin` is where the platform is scraped, HOST:PORT."""
    return {
        "windlass-dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
        "windlass-alerts.yaml": yaml.safe_dump(rules(), sort_keys=False, width=100),
        "prometheus.yaml": yaml.safe_dump(scraping(admin), sort_keys=False),
    }


def dashboard() -> dict[str, Any]:
    """Return Grafana's dashboard; it asks for its data source, and shows the services chosen."""
    return {
        "title": "Windlass",
        "uid": "windlass",
        "tags": ["windlass"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                },
            ]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def rules() -> dict[str, Any]:
    """Return Prometheus' alerting rules."""
    return {"groups": [{"name": "windlass", "rules": [_rule(alert) for alert in ALERTS]}]}


def scraping(admin: str) -> dict[str, Any]:
    """Return a configuration of Prometheus that scrapes a platform and loads the rules."""
    return {
        "global": {"scrape_interval": "10s", "evaluation_interval": "10s"},
        "rule_files": ["windlass-alerts.yaml"],
        "scrape_configs": [{"job_name": "windlass", "static_configs": [{"targets": [admin]}]}],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": f"{alert.value.replace(RATE, ALERT_RATE)} {alert.bound}",
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }
