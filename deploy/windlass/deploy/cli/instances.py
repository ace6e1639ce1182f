"""`windlass instances`: the instances of a service."""

from __future__ import annotations

import time

import click

from windlass.deploy.cli.connection import ask, json_option, server_option


@click.command("instances")
@click.argument("name")
@json_option
@server_option
def command(name: str, as_json: bool, server: str) -> None:
    """Show the instances of the service NAME, and those that ended lately."""
    from windlass.deploy.cli.output import print_json, print_table, span

    instances = ask(server, lambda client: client.instances(name))
    if as_json:
        print_json(instances)
        return
    now = time.time()
    columns = ("INSTANCE", "STATE", "IN FLIGHT", "REQUESTS", "START", "AGE", "ADDRESS", "REASON")
    rows = [
        (
            instance.id,
            instance.state,
            str(instance.in_flight),
            str(instance.requests),
            span(instance.ready - instance.started) if instance.ready else "",
            span((instance.ended or now) - instance.started),
            instance.address,
            instance.reason,
        )
        for instance in instances
    ]
    empty = f"{name} has no instance; a request starts one."
    print_table(columns, rows, empty)
