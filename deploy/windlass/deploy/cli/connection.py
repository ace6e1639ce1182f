"""How commands speak to a running platform: the options for it, and its faults as theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import click

from windlass.deploy.cli.faults import OperationFailed, PlatformUnreachable, problem_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from windlass.deploy.api.client import Client

T = TypeVar("T")

server_option = click.option(
    "--server",
    metavar="URL",
    envvar="WINDLASS_SERVER",
    default="http://127.0.0.1:8090",
    show_default=True,
    show_envvar=True,
    help="The platform's admin address.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def ask(server: str, question: Callable[[Client], Awaitable[T]]) -> T:
    """Return what the question finds out.

    Raises:
        PlatformUnreachable: no platform answers.
        OperationFailed: it refuses.
    """
    from windlass.deploy.api.client import Client, Unreachable
    from windlass.deploy.api.platform import Refused

    async def run() -> T:
        async with Client(server) as client:
            return await question(client)

    try:
        return asyncio.run(run())
    except Unreachable as error:
        raise PlatformUnreachable(str(error)) from error
    except Refused as error:
        raise OperationFailed(problem_text(error.problem)) from error
