"""`windlass instances`: the instances of a service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import InstanceView, StandbyView


@click.command("instances")
@click.argument("name")
@json_option
@server_option
def command(name: str, as_json: bool, server: str) -> None:
    """Show the instances of the service NAME, those that ended lately, and those made ahead.

    A frozen instance serves, but has no CPU until its next request. One in standby is not started.
    """
    from windlass.deploy.cli.output import print_json, print_table, span

    async def gather(client: Client) -> tuple[list[InstanceView], list[StandbyView]]:
        return await client.instances(name), await client.standbys(name)

    instances, standbys = ask(server, gather)
    if as_json:
        print_json([*instances, *standbys])
        return
    now = time.time()
    columns = ("INSTANCE", "STATE", "IN FLIGHT", "REQUESTS", "START", "AGE", "ADDRESS", "REASON")
    rows = [
        (
            instance.id,
            "frozen" if instance.frozen else instance.state,
            str(instance.in_flight),
            str(instance.requests),
            span(instance.ready - instance.started) if instance.ready else "",
            span((instance.ended or now) - instance.started),
            instance.address,
            instance.reason,
        )
        for instance in instances
    ]
    rows += [
        (standby.id, standby.state, "", "", "", span(now - standby.made), "", standby.revision)
        for standby in standbys
    ]
    empty = f"{name} has no instance; a request starts one."
    print_table(columns, rows, empty)
