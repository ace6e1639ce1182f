"""`windlass up`: the platform, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass.deploy.options import ListenAddress, Options, default_state

if TYPE_CHECKING:
    from windlass.deploy.options import AccessLog, LogFormat, RuntimeChoice


def _address(ctx: click.Context, param: click.Parameter, value: str) -> ListenAddress:
    """Read HOST:PORT, with brackets around an IPv6 address."""
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port[:6]) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080", ctx, param)
    return ListenAddress(host.removeprefix("[").removesuffix("]"), int(port))


@click.command("up")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "process", "oci"]),
    default="auto",
    show_default=True,
    help="What runs instances; auto takes the best that is there.",
)
@click.option(
    "--http",
    callback=_address,
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where services are called.",
)
@click.option(
    "--admin",
    callback=_address,
    default="127.0.0.1:8090",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the platform is told what to do. Whoever reaches it may run commands.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_state,
    show_default="~/.local/state/windlass",
    metavar="DIR",
    help="What survives a restart.",
)
@click.option(
    "--domain",
    default="localhost",
    show_default=True,
    help="Services are called NAME.DOMAIN, and NAME.localhost always.",
)
@click.option("--default-service", default="", metavar="NAME", help="Serves all other hosts.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Router processes that share the work: one for each core that is to serve.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option(
    "--access-log",
    type=click.Choice(["off", "json", "common"]),
    default="off",
    show_default=True,
    help="A line on stdout for each request.",
)
@click.option(
    "--server-timing", is_flag=True, help="Responses say where the time went, and their request id."
)
@click.option(
    "--tunnel-idle",
    type=click.FloatRange(min=0.0),
    default=0.0,
    metavar="SECONDS",
    help="Ends a WebSocket through which nothing passes; 0: never.",
)
@click.option(
    "--rest-after",
    type=click.FloatRange(min=0.1),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="Instances that were idle for so long get no CPU until their next request.",
)
@click.option(
    "--tls-cert",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    metavar="FILE",
    help="Services are called over TLS with this certificate (PEM); again for more names.",
)
@click.option(
    "--tls-key",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    metavar="FILE",
    help="The key of each --tls-cert, in their order.",
)
def command(
    runtime: RuntimeChoice,
    http: ListenAddress,
    admin: ListenAddress,
    state: Path,
    domain: str,
    default_service: str,
    workers: int,
    log_format: LogFormat,
    access_log: AccessLog,
    server_timing: bool,
    tunnel_idle: float,
    rest_after: float,
    tls_cert: tuple[Path, ...],
    tls_key: tuple[Path, ...],
) -> None:
    """Start the platform and stay until SIGTERM or Ctrl-C, which drain and stop everything."""
    from windlass.deploy.cli.faults import OperationFailed
    from windlass.deploy.node import run
    from windlass.deploy.options import CannotStart

    if len(tls_cert) != len(tls_key):
        raise click.UsageError("each --tls-cert needs its --tls-key, in the same order")
    options = Options(
        runtime=runtime,
        http=http,
        admin=admin,
        state=state,
        domain=domain,
        default_service=default_service,
        workers=workers,
        log_format=log_format,
        access_log=access_log,
        server_timing=server_timing,
        tunnel_idle=tunnel_idle,
        rest_after=rest_after,
        tls=tuple(zip(tls_cert, tls_key, strict=True)),
    )
    try:
        run(options)
    except CannotStart as error:
        raise OperationFailed(str(error)) from error
