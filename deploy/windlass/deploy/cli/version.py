"""`windlass version`."""

from __future__ import annotations

import click


@click.command("version")
def command() -> None:
    """Show the version, and whether the router's hot path is compiled."""
    from importlib.metadata import version

    from windlass.router import compiled

    click.echo(f"windlass {version('windlass')}, router {compiled.describe()}")
