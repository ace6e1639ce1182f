"""`windlass logs`: what instances wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option
from windlass.telemetry.structured import SEVERITIES, is_at_least

if TYPE_CHECKING:
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import LogLineView


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written, until Ctrl-C.")
@click.option(
    "--tail", type=click.IntRange(0, 100_000), default=100, show_default=True, help="Last lines."
)
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    help="Of these lines, only such of JSON with at least this severity.",
)
@click.option("--trace", default="", help="Of these lines, only such of JSON with this trace id.")
@json_option
@server_option
def command(
    name: str,
    follow: bool,
    tail: int,
    severity: str | None,
    trace: str,
    as_json: bool,
    server: str,
) -> None:
    """Show what the instances of the service NAME wrote, in order of time.

    Of a line of JSON its severity and message are shown; --json has all of it.
    """
    import msgspec

    def is_asked(line: LogLineView) -> bool:
        loud = severity is None or is_at_least(line.severity, severity.upper())
        return loud and trace in ("", line.trace)

    async def show(client: Client) -> None:
        async for line in client.logs(name, tail=tail, follow=follow):
            if is_asked(line):
                click.echo(msgspec.json.encode(line) if as_json else _text(line))

    try:
        ask(server, show)
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # how a followed log ends: no word about it


def _text(line: LogLineView) -> str:
    time = datetime.fromtimestamp(line.time, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    said = f"{line.severity} {line.message}".strip() if line.message else line.text
    return f"{time} {line.instance} {said}"
