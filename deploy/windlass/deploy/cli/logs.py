"""`windlass logs`: what instances wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import LogLineView


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written, until Ctrl-C.")
@click.option(
    "--tail", type=click.IntRange(0, 100_000), default=100, show_default=True, help="Last lines."
)
@json_option
@server_option
def command(name: str, follow: bool, tail: int, as_json: bool, server: str) -> None:
    """Show what the instances of the service NAME wrote, in order of time."""
    import msgspec

    async def show(client: Client) -> None:
        async for line in client.logs(name, tail=tail, follow=follow):
            click.echo(msgspec.json.encode(line) if as_json else _text(line))

    try:
        ask(server, show)
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # how a followed log ends: no word about it


def _text(line: LogLineView) -> str:
    time = datetime.fromtimestamp(line.time, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return f"{time} {line.instance} {line.text}"
