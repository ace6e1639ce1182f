"""`windlass grafana`: a dashboard for Grafana, and rules and a scrape job for Prometheus."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from windlass.deploy.cli.connection import server_option


@click.command("grafana")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to write to; made where it is not there. Else this one.",
)
@server_option
def command(out: Path, server: str) -> None:
    """Write a Grafana dashboard, Prometheus' alert rules, and a configuration that scrapes."""
    from windlass.deploy.cli.faults import OperationFailed
    from windlass.deploy.grafana.files import files

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files(urlsplit(server).netloc).items():
            (out / name).write_text(text, encoding="utf-8")
            click.echo(f"wrote {out / name}")
    except OSError as error:
        raise OperationFailed(f"--out {out}: {error.strerror}") from error
    click.echo(
        "\nPrometheus: prometheus --config.file=prometheus.yaml, or take its job and rules over."
        "\nGrafana: Dashboards > New > Import > windlass-dashboard.json."
    )
