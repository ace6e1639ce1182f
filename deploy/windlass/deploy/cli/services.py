"""`windlass services`: list, describe, route and delete."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from windlass.deploy.api.schema import RevisionView, ServiceView
    from windlass.model.service import Target

_DIGEST_SHOWN = len("sha256:") + 12  # characters, as docker shows an id


@click.group("services")
def command() -> None:
    """List, describe, route and delete services."""


@command.command("list")
@json_option
@server_option
def list_services(as_json: bool, server: str) -> None:
    """List all services."""
    from windlass.deploy.cli.output import print_json, print_table

    services = ask(server, lambda client: client.services())
    if as_json:
        print_json(services)
        return
    columns = ("NAME", "READY", "REVISION", "INSTANCES", "URL")
    rows = [
        (
            service.name,
            "yes" if service.ready else f"no: {service.reason}",
            service.latest_ready,
            _instances(service.revisions) or "0",
            service.url,
        )
        for service in services
    ]
    empty = "No service yet; `windlass deploy NAME --image IMAGE` makes one."
    print_table(columns, rows, empty)


@command.command("describe")
@click.argument("name")
@json_option
@server_option
def describe(name: str, as_json: bool, server: str) -> None:
    """Describe the service NAME, its traffic and revisions."""
    from windlass.deploy.cli.output import print_json

    service = ask(server, lambda client: client.describe(name))
    if as_json:
        print_json(service)
    else:
        _print_service(service)


@command.command("delete")
@click.argument("name")
@server_option
def delete(name: str, server: str) -> None:
    """Delete the service NAME: its instances finish what they do and stop. Its bill stays."""
    ask(server, lambda client: client.delete(name))
    click.echo(f"{name} is deleted", err=True)


@command.command("update-traffic")
@click.argument("name")
@click.option("--to-latest", is_flag=True, help="All to the latest revision, also in future.")
@click.option(
    "--to-revisions", metavar="REVISION=PERCENT,...", help="LATEST=PERCENT for the latest one."
)
@json_option
@server_option
def update_traffic(
    name: str, to_latest: bool, to_revisions: str | None, as_json: bool, server: str
) -> None:
    """Send the requests of the service NAME to its latest revision, or to some by percent."""
    from windlass.deploy.cli.output import print_json
    from windlass.model.service import Target

    if to_latest == (to_revisions is not None):
        raise click.UsageError("give one of --to-latest and --to-revisions")
    targets = (Target(),) if to_revisions is None else _targets(to_revisions)
    service = ask(server, lambda client: client.set_traffic(name, targets))
    if as_json:
        print_json(service)
    else:
        click.echo(_traffic(service))


def _targets(text: str) -> tuple[Target, ...]:
    from windlass.deploy.cli.faults import WrongFlags
    from windlass.deploy.cli.flags import FlagReader, read_percents
    from windlass.deploy.validation import check_traffic

    reader = FlagReader()
    targets = reader.take("--to-revisions", text, read_percents) or ()
    if wrong := reader.wrong or check_traffic(targets, "--to-revisions"):
        raise WrongFlags(wrong)
    return targets


def _print_service(service: ServiceView) -> None:
    from windlass.deploy.cli.output import moment, print_table, span

    facts = {
        "Service": service.name,
        "URL": service.url,
        "Ready": "yes" if service.ready else f"no: {service.reason}",
        "Created": f"{moment(service.created)} UTC, {span(time.time() - service.created)} ago",
        "Labels": ", ".join(f"{key}={value}" for key, value in service.labels.items()) or "none",
        "Traffic": _traffic(service),
    }
    for name, value in facts.items():
        click.echo(f"{name + ':':9}{value}")
    click.echo()
    columns = ("REVISION", "READY", "RUNS", "MODE", "LIMITS", "SCALING", "INSTANCES")
    print_table(columns, [_revision(revision) for revision in service.revisions], "No revision.")


def _revision(revision: RevisionView) -> tuple[str, ...]:
    from windlass.deploy.quantity import write_cpu, write_memory

    template, limits, scaling = (
        revision.template,
        revision.template.limits,
        revision.template.scaling,
    )
    return (
        revision.name,
        "yes" if revision.ready else f"no: {revision.reason}",
        _runs(revision),
        template.mode,
        f"concurrency {limits.concurrency}, cpu {write_cpu(limits.milli_cpu)}, "
        f"memory {write_memory(limits.memory)}",
        f"{scaling.min_instances} to {scaling.max_instances}",
        _instances((revision,)) or "0",
    )


def _runs(revision: RevisionView) -> str:
    """Return the image and the beginning of its digest, hello:1 (sha256:0123456789ab)."""
    container, digest = revision.template.container, revision.image_digest
    name = container.image or " ".join(container.exec)
    return f"{name} ({digest[:_DIGEST_SHOWN]})" if digest else name


def _traffic(service: ServiceView) -> str:
    parts = [
        f"{part.percent} percent to {part.revision}"
        + (" (latest)" if part.latest else "")
        + (f" (tag {part.tag})" if part.tag else "")
        for part in service.traffic
    ]
    return ", ".join(parts) or "none"


def _instances(revisions: tuple[RevisionView, ...]) -> str:
    """Return the number of instances in each state: 2 ready, 1 starting."""
    counts: dict[str, int] = {}
    for revision in revisions:
        for state, count in revision.instances.items():
            counts[state] = counts.get(state, 0) + count
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
