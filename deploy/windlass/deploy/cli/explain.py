"""`windlass explain`: why there are as many instances as there are."""

from __future__ import annotations

import click

from windlass.deploy.cli.connection import ask, json_option, server_option


@click.command("explain")
@click.argument("name")
@json_option
@server_option
def command(name: str, as_json: bool, server: str) -> None:
    """Show the autoscaler's decisions for the service NAME, oldest first, each with its reason."""
    from windlass.deploy.cli.output import moment, print_json, print_table

    decisions = ask(server, lambda client: client.explain(name))
    if as_json:
        print_json(decisions)
        return
    columns = (
        "TIME (UTC)", "REVISION", "WANTED", "READY", "STARTING", "IN FLIGHT", "QUEUED", "REASON"
    )  # fmt: skip
    rows = [
        (
            moment(decision.time),
            decision.revision,
            str(decision.desired),
            str(decision.ready),
            str(decision.starting),
            str(decision.in_flight),
            str(decision.queued),
            decision.reason,
        )
        for decision in decisions
    ]
    print_table(columns, rows, f"Nothing has been decided for {name} yet.")
