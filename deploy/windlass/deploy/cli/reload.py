"""`windlass reload`: new router workers, and no request lost."""

from __future__ import annotations

import click

from windlass.deploy.cli.connection import ask, json_option, server_option


@click.command("reload")
@json_option
@server_option
def command(as_json: bool, server: str) -> None:
    """Replace the router's workers one by one, as after an update or for new certificates.

    Each new one serves before the old one stops accepting, so no request is lost. The old ones end
    when their last request is answered and their clients' kept connections are over.
    """
    from windlass.deploy.cli.output import print_json

    reloaded = ask(server, lambda client: client.reload())
    if as_json:
        print_json(reloaded)
        return
    click.echo(f"{', '.join(reloaded.workers)} serve now; the old ones finish their requests.")
