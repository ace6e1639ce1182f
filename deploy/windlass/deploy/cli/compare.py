"""`windlass compare`: the same load on both modes, and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from windlass.bench.compare import Comparison, Settings
    from windlass.deploy.api.client import Client


@click.command("compare")
@click.argument("image", default="")
@click.option(
    "--exec", "command_line", metavar="'CMD ...'", help="A command line of this machine, instead."
)
@click.option("--rate", metavar="N", default="100", show_default=True, help="Requests a second.")
@click.option("--clients", metavar="N", help="So many at a time, each waiting, instead of a rate.")
@click.option("--duration", metavar="TIME", default="30s", show_default=True, help="Of the load.")
@click.option(
    "--ramp", metavar="TIME", default="5s", show_default=True, help="Until the full load."
)
@click.option("--path", metavar="PATH", default="/", show_default=True, help="What is requested.")
@click.option(
    "--concurrency", metavar="N", default="80", show_default=True, help="In cloudrun mode."
)
@click.option("--cpu", metavar="CPU", default="1", show_default=True, help="vCPUs of an instance.")
@click.option("--memory", metavar="SIZE", default="512Mi", show_default=True)
@click.option("--against", metavar="URL", help="Another endpoint that gets the same load.")
@json_option
@server_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    image: str,
    command_line: str | None,
    as_json: bool,
    server: str,
    **flags: str | None,
) -> None:
    """Deploy IMAGE in both modes, put the same load on each, and compare latency and price.

    Where no platform answers at the default address, one is started for the run.
    """
    from rich.console import Console

    from windlass.bench import report, show
    from windlass.bench.compare import compare
    from windlass.deploy.cli.comparison import PlatformTarget, read_settings
    from windlass.deploy.cli.output import print_json
    from windlass.deploy.cli.temporary import platform_at

    settings = read_settings(image, command_line, flags)

    async def run(client: Client) -> Comparison:
        with show.showing(Console(stderr=True)) as progress:
            try:
                return await compare(settings, PlatformTarget(client), progress)
            except ValueError as error:
                raise click.UsageError(str(error)) from error

    # A platform that was named is expected there; only the default may be ours to start.
    named = ctx.get_parameter_source("server") is not click.core.ParameterSource.DEFAULT
    with platform_at(server, start=not named, runtime=_runtime(settings)) as address:
        comparison = ask(address, run)
    if as_json:
        print_json(report.as_json(comparison))
    else:
        Console().print(show.summary(comparison))


def _runtime(settings: Settings) -> str:
    return "process" if settings.exec else "auto"
