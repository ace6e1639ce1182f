"""`windlass events`: what happened to a service."""

from __future__ import annotations

import click

from windlass.deploy.cli.connection import ask, json_option, server_option


@click.command("events")
@click.argument("name")
@json_option
@server_option
def command(name: str, as_json: bool, server: str) -> None:
    """Show what happened to the service NAME, oldest first."""
    from windlass.deploy.cli.output import moment, print_json, print_table

    events = ask(server, lambda client: client.events(name))
    if as_json:
        print_json(events)
        return
    columns = ("TIME (UTC)", "LEVEL", "EVENT", "WHERE", "MESSAGE")
    rows = [
        (
            moment(event.time),
            event.level,
            event.kind,
            event.instance or event.revision or event.service,
            event.message,
        )
        for event in events
    ]
    print_table(columns, rows, f"Nothing has happened to {name} yet.")
