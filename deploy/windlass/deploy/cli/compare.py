"""`windlass compare`: the same load on both modes, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windlass.bench.compare import Comparison
    from windlass.billing.book import Book
    from windlass.deploy.api.client import Client
    from windlass.deploy.comparison.settings import Asked
    from windlass.model.service import Template


@click.command("compare")
@click.argument("image", default="")
@click.option(
    "--exec", "command_line", metavar="'CMD ...'", help="A command line of this machine, instead."
)
@click.option("--service", metavar="NAME", help="What a deployed service runs, instead.")
@click.option("--rate", metavar="N", default="100", show_default=True, help="Requests a second.")
@click.option("--clients", metavar="N", help="So many at a time, each waiting, instead of a rate.")
@click.option("--duration", metavar="TIME", default="30s", show_default=True, help="Of the load.")
@click.option(
    "--ramp", metavar="TIME", default="5s", show_default=True, help="Until the full load."
)
@click.option("--path", metavar="PATH", default="/", show_default=True, help="What is requested.")
@click.option(
    "--concurrency", metavar="N", show_default="80, or the service's", help="In cloudrun mode."
)
@click.option(
    "--cpu", metavar="CPU", show_default="1, or the service's", help="vCPUs of an instance."
)
@click.option("--memory", metavar="SIZE", show_default="512Mi, or the service's")
@click.option("--against", metavar="URL", help="Another endpoint that gets the same load.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write a report with charts: one file that needs nothing else.",
)
@json_option
@server_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    image: str,
    command_line: str | None,
    service: str | None,
    html: Path | None,
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
    from windlass.deploy.cli.output import print_json
    from windlass.deploy.cli.temporary import platform_at
    from windlass.deploy.comparison.target import PlatformTarget, template_of, usual_books

    if service and (image or command_line):
        raise click.UsageError("give either --service, or an image or a command to run")
    # What is wrong is said before a platform is asked or started; a service's own only it knows.
    asked = None if service else _read(image, command_line, flags)

    async def run(client: Client) -> tuple[Comparison, tuple[Book, Book]]:
        found = asked
        if found is None:
            name = service or ""
            found = _read("", None, flags, name, await template_of(client, name))
        with show.showing(Console(stderr=True)) as progress:
            try:
                target = PlatformTarget(client, found)
                return await compare(found.settings, target, progress), await usual_books(client)
            except ValueError as error:
                raise click.UsageError(str(error)) from error

    # A platform that was named is expected there; only the default may be ours to start.
    named = ctx.get_parameter_source("server") is not click.core.ParameterSource.DEFAULT
    runtime = "process" if command_line else "auto"
    with platform_at(server, start=not named and not service, runtime=runtime) as address:
        comparison, books = ask(address, run)
    if html is not None:
        _write(html, comparison, books)
    if as_json:
        print_json(report.as_json(comparison))
    else:
        Console().print(show.summary(comparison))


def _read(
    image: str,
    command_line: str | None,
    flags: Mapping[str, str | None],
    service: str = "",
    base: Template | None = None,
) -> Asked:
    """Return what is asked.

    Raises:
        WrongFlags: with all that is wrong.
    """
    from windlass.deploy.cli.faults import WrongFlags
    from windlass.deploy.comparison import settings

    asked, wrong = settings.read(image, command_line, flags, service, base)
    if wrong:
        raise WrongFlags(wrong)
    return asked


def _write(path: Path, comparison: Comparison, books: tuple[Book, Book]) -> None:
    from windlass.deploy.cli.faults import OperationFailed
    from windlass.deploy.comparison.report import write

    try:
        path.write_text(write(comparison, books), encoding="utf-8")
    except OSError as error:
        detail = f"the report cannot be written to {path}: {error.strerror}"
        raise OperationFailed(detail) from error
    click.echo(f"The report is in {path}", err=True)
