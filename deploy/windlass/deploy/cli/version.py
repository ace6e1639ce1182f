"""`windlass version`."""

from __future__ import annotations

import click


@click.command("version")
def command() -> None:
    """Show the version."""
    from importlib.metadata import version

    click.echo(f"windlass {version('windlass')}")
