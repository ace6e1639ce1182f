"""What `deploy` and `apply` have in common: the service before, and what is said at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from windlass.deploy.api.platform import Refused
from windlass.deploy.cli.output import print_json

if TYPE_CHECKING:
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import ServiceView
    from windlass.model.service import Template


async def find(client: Client, name: str) -> Template | None:
    """Return the template of a service's latest revision; None where there is no such service."""
    try:
        service = await client.describe(name)
    except Refused as refused:
        if refused.problem.status == 404:
            return None
        raise
    latest = (r.template for r in service.revisions if r.name == service.latest_created)
    return next(latest, None)


def show(service: ServiceView, *, as_json: bool) -> None:
    """Say where the service is; its URL alone on stdout, so that scripts can take it."""
    if as_json:
        print_json(service)
        return
    revision = service.latest_created
    percent = sum(part.percent for part in service.traffic if part.revision == revision)
    click.echo(f"{revision} is deployed and serves {percent} percent of {service.name}:", err=True)
    click.echo(service.url)
