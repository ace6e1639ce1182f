"""`windlass apply`: a service from a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import ServiceView


@click.command("apply")
@click.option(
    "-f",
    "--filename",
    "file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="The manifest, in YAML or JSON; - reads stdin.",
)
@json_option
@server_option
def command(file: TextIO, as_json: bool, server: str) -> None:
    """Make a service what a serving.knative.dev/v1 manifest says."""
    from windlass.deploy import manifest
    from windlass.deploy.cli.deployed import show
    from windlass.deploy.cli.faults import OperationFailed
    from windlass.deploy.cli.progress import watch

    try:
        text = file.read()
        manifest.read(text)
    except UnicodeDecodeError as error:
        raise OperationFailed(f"{file.name}: not UTF-8: {error.reason}") from error
    except manifest.ManifestError as error:
        raise OperationFailed(f"{file.name}: {error}") from error

    async def apply(client: Client) -> ServiceView:
        return await watch(client.apply(text))

    show(ask(server, apply), as_json=as_json)
