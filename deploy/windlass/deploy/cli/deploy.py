"""`windlass deploy`: a new revision of a service, from flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import ServiceView


@click.command("deploy")
@click.argument("name")
@click.option("--image", metavar="IMAGE", help="The container image, such as nginx:1.27.")
@click.option("--exec", metavar="'CMD ...'", help="A command line of this machine, instead.")
@click.option("--port", metavar="PORT", help="Where the container listens; given to it as PORT.")
@click.option("--concurrency", metavar="N", help="Requests in flight in one instance, 1 to 1000.")
@click.option("--cpu", metavar="CPU", help="vCPUs of one instance: 1, 0.5 or 500m.")
@click.option("--memory", metavar="SIZE", help="Memory of one instance: 512Mi or 1Gi.")
@click.option("--min-instances", metavar="N", help="Instances that are always there.")
@click.option("--max-instances", metavar="N", help="Instances that there may be at most.")
@click.option("--timeout", metavar="TIME", help="What one request may take: 300, 30s or 5m.")
@click.option("--set-env-vars", metavar="K=V,...", help="All environment variables.")
@click.option("--command", metavar="WORD,...", help="Replaces the image's entrypoint.")
@click.option("--args", metavar="WORD,...", help="Replaces the image's arguments.")
@click.option("--labels", metavar="K=V,...", help="Labels of the service, added to those it has.")
@click.option("--mode", type=click.Choice(["cloudrun", "lambda"]), help="One request per instance?")
@click.option("--window", metavar="TIME", help="What scaling down looks back on, 60s at first.")
@click.option("--scale-to-zero-grace", metavar="TIME", help="How long the last instance is kept.")
@click.option(
    "--use-http2/--no-use-http2",
    default=None,
    help="The container speaks HTTP/2 without TLS (h2c)?",
)
@click.option(
    "--session-affinity/--no-session-affinity",
    default=None,
    help="A client's requests go to the same instance, as far as it has room?",
)
@click.option("--budget", metavar="N/PERIOD", help="What it may cost: 5/day, 0.5/hour; or none.")
@click.option(
    "--budget-action",
    type=click.Choice(["warn", "cap"]),
    help="When it has: only say so, or run no instance until the period is over?",
)
@click.option(
    "--cpu-throttling/--no-cpu-throttling",
    default=None,
    help="CPU only while requests are served? At first yes; no is priced by instances' time.",
)
@click.option("--cpu-boost/--no-cpu-boost", default=None, help="More CPU until an instance is up?")
@click.option("--standby", metavar="N", help="Containers made ahead and not started, 1 at first.")
@click.option(
    "--read-only-root/--no-read-only-root",
    default=None,
    help="Nothing but /tmp can be written in an instance?",
)
@click.option("--no-traffic", is_flag=True, help="What serves now goes on serving.")
@click.option(
    "--deploy-health-check/--no-deploy-health-check",
    default=True,
    show_default=True,
    help="Start one instance and see it listen.",
)
@json_option
@server_option
def command(
    name: str,
    labels: str | None,
    use_http2: bool | None,
    session_affinity: bool | None,
    cpu_throttling: bool | None,
    cpu_boost: bool | None,
    read_only_root: bool | None,
    no_traffic: bool,
    deploy_health_check: bool,
    as_json: bool,
    server: str,
    **flags: str | None,
) -> None:
    """Deploy a container image, or a command line, as the service NAME.

    What is not given stays as it is, or has its default at the first deploy. Lists are separated by
    commas, or by a separator of your own: '^;^A=1,2;B=3'.
    """
    import msgspec

    from windlass.deploy.api.schema import DeployRequest
    from windlass.deploy.cli.deployed import find, show
    from windlass.deploy.cli.faults import WrongFlags
    from windlass.deploy.cli.flags import FlagReader, Flags, read_pairs, read_template
    from windlass.deploy.cli.progress import watch
    from windlass.deploy.validation import check_labels, check_name

    async def deploy(client: Client) -> ServiceView:
        given = Flags(
            use_http2=use_http2,
            session_affinity=session_affinity,
            cpu_throttling=cpu_throttling,
            cpu_boost=cpu_boost,
            read_only_root=read_only_root,
            **flags,
        )
        template, wrong = read_template(given, await find(client, name))
        reader = FlagReader()
        pairs = reader.take("--labels", labels, read_pairs) or ()
        wrong += [*check_name(name, "NAME"), *reader.wrong, *check_labels(pairs, "--labels")]
        if wrong:
            raise WrongFlags(wrong)
        # On the revision, too: the ledger keeps a revision's labels, for bills by label.
        merged = tuple((dict(template.labels) | dict(pairs)).items())
        template = msgspec.structs.replace(template, labels=merged)
        request = DeployRequest(
            name=name,
            template=template,
            labels=dict(pairs),
            traffic=not no_traffic,
            health_check=deploy_health_check,
        )
        return await watch(client.deploy(request))

    show(ask(server, deploy), as_json=as_json)
