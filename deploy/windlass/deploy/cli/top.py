"""`windlass top`: what services do and cost, live in the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from windlass.deploy.cli.connection import ask, json_option, server_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from windlass.deploy.api.client import Client
    from windlass.deploy.cli.top_view import Seen

INTERVAL = 2.0  # seconds: the platform looks no more often itself


@click.command("top")
@click.argument("name", default="")
@click.option("--once", is_flag=True, help="Print it once and end.")
@json_option
@server_option
def command(name: str, once: bool, as_json: bool, server: str) -> None:
    """Watch all services, or the instances of the service NAME, until q or Ctrl-C.

    With --json, or where there is no terminal, it is printed once.
    """
    from rich.console import Console

    from windlass.deploy.cli.output import print_json
    from windlass.deploy.cli.top_view import draw

    first = ask(server, lambda client: look(client, name))
    if as_json:
        print_json(first.services)
        return
    console = Console()
    if once or not console.is_terminal:
        height = len(first.services) + len(first.instances) + 99  # all of it
        console.print(draw(first, console.width, height, is_live=False))
        return
    try:
        ask(server, lambda client: _watch(client, name, first, console))
    except KeyboardInterrupt:
        return


async def look(client: Client, name: str) -> Seen:
    """Return what there is to see.

    Raises:
        Refused: there is no service of that name (404).
    """
    from windlass.deploy.cli.top_view import Seen

    services = await client.now()
    if not name:
        return Seen(time=time.time(), server=client.server, services=services)
    instances, decisions = await asyncio.gather(client.instances(name), client.explain(name))
    return Seen(
        time=time.time(),
        server=client.server,
        services=[now for now in services if now.service.name == name],
        instances=instances,
        decisions=decisions,
        name=name,
    )


async def _watch(client: Client, name: str, seen: Seen, console: Console) -> None:
    """Show what there is to see, again and again, until q; a platform that goes is waited for."""
    from rich.live import Live

    from windlass.deploy.api.client import Unreachable
    from windlass.deploy.cli.top_view import draw

    notice = ""
    with _quit() as quits, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            view = draw(seen, console.width, console.height, notice)
            live.update(view, refresh=True)
            try:
                async with asyncio.timeout(INTERVAL):
                    await quits.wait()
            except TimeoutError:
                pass
            else:
                return
            try:
                seen, notice = await look(client, name), ""
            except Unreachable as error:
                notice = f"No answer ({error.reason}), trying again. Does windlass up still run?"


@contextmanager
def _quit() -> Iterator[asyncio.Event]:
    """Give an event that q sets, while the terminal hands over keys as they are pressed."""
    quits = asyncio.Event()
    if not sys.stdin.isatty():
        yield quits
        return
    import termios
    import tty

    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)

    def key() -> None:
        keys = os.read(number, 64)
        if not keys or b"q" in keys.lower():
            quits.set()

    loop.add_reader(number, key)
    try:
        yield quits
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
