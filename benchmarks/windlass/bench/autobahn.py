"""Autobahn's WebSocket test suite against an echo server, with the router before it and without.

The suite (PyPI: autobahntestsuite) runs under Python 2.7 only, so it is called as a command of its
own. The router is right where it changes no verdict.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from websockets.asyncio.server import serve

from windlass.bench.fake_node import FakeNode
from windlass.bench.machine import describe
from windlass.bench.proxies import PROXIES, WINDLASS
from windlass.bench.servers import running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

_CONCURRENCY = 100
_GOOD = frozenset({"OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED"})

Verdicts = dict[str, str]  # case -> behaviour / behaviour at the close


@click.command()
@click.option("--wstest", default="wstest", show_default=True, help="The suite's command line.")
@click.option(
    "--reports",
    type=click.Path(path_type=Path),
    help="Folder for the suite's reports, as its command sees it under --root.",
)
@click.option("--root", default="/", help="Where the suite's command sees its / (a chroot).")
@click.option("--cases", default="*", show_default=True, help="Such as 1.*,6.* .")
@click.option("--exclude", default="", help="Such as 12.*,13.* .")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Keep the verdicts as JSON; those of other cases that the file has stay.",
)
def main(
    wstest: str, reports: Path | None, root: str, cases: str, exclude: str, out: Path | None
) -> None:
    """Run the suite on both and compare; exit status 1 where the router makes a verdict worse."""
    # The suite breaks the protocol on purpose: the server need not say so each time.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=root if root != "/" else None) as temporary:
        folder = reports or Path("/", Path(temporary).relative_to(root))
        chosen = {"cases": cases.split(","), "exclude-cases": exclude.split(",") if exclude else []}
        found = asyncio.run(_run(shlex.split(wstest), Path(root), folder, chosen))
    worse = _worse(found["direct"], found[WINDLASS])
    changed = {
        case for case, verdict in found["direct"].items() if found[WINDLASS][case] != verdict
    }
    click.echo(f"{len(found['direct'])} cases, {len(changed)} verdicts differ, {len(worse)} worse")
    for case in sorted(changed):
        click.echo(f"  {case}: direct {found['direct'][case]}, router {found[WINDLASS][case]}")
    if out:
        command = shlex.join(["python", "-m", "windlass.bench.autobahn", *sys.argv[1:]])
        before = json.loads(out.read_text()) if out.exists() else {}
        out.write_text(json.dumps(add(before, command, found), indent=1) + "\n")
    sys.exit(bool(worse))


async def _run(
    command: list[str], root: Path, folder: Path, chosen: Mapping[str, list[str]]
) -> dict[str, Verdicts]:
    async with AsyncExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        echo = await stack.enter_async_context(
            serve(_echo, "127.0.0.1", 0, max_size=None, process_request=_plain)
        )
        backend = int(next(iter(echo.sockets)).getsockname()[1])
        node = FakeNode(backend, _CONCURRENCY)
        (work / WINDLASS).mkdir()
        await node.listen(work / WINDLASS / "link")
        stack.push_async_callback(node.close)
        proxy = next(proxy for proxy in PROXIES if proxy.name == WINDLASS)
        router = await stack.enter_async_context(running(proxy, work, backend))
        servers = {"direct": backend, WINDLASS: router.port}
        await _suite(command, root, folder, chosen, servers)
    index = json.loads(_under(root, folder / "index.json").read_text())
    return {
        name: {case: f"{v['behavior']} / {v['behaviorClose']}" for case, v in index[name].items()}
        for name in servers
    }


async def _suite(
    command: list[str],
    root: Path,
    folder: Path,
    chosen: Mapping[str, list[str]],
    servers: Mapping[str, int],
) -> None:
    specification = folder / "specification.json"
    agents = [{"agent": a, "url": f"ws://127.0.0.1:{port}"} for a, port in servers.items()]
    _under(root, specification).write_text(
        json.dumps({"outdir": str(folder), "servers": agents, "exclude-agent-cases": {}, **chosen})
    )
    process = await asyncio.create_subprocess_exec(
        *command, "-m", "fuzzingclient", "-s", str(specification),
        stdout=asyncio.subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    if await process.wait() != 0:
        raise click.ClickException(f"{shlex.join(command)} exited with {process.returncode}")


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _plain(connection: ServerConnection, request: Request) -> Response | None:
    """Answer a request that is no WebSocket's: whoever waits for the server asks so."""
    if "Upgrade" in request.headers:
        return None
    return connection.respond(200, "an echo server\n")


def add(
    before: Mapping[str, Any], command: str, found: Mapping[str, Verdicts]
) -> dict[str, object]:
    """Return the document of all runs so far: a whole one takes long, so it may come in parts."""
    verdicts = {
        name: dict(sorted({**before.get("verdicts", {}).get(name, {}), **new}.items(), key=_order))
        for name, new in found.items()
    }
    direct, router = verdicts["direct"], verdicts[WINDLASS]
    return {
        "commands": [*before.get("commands", []), command],
        "machine": describe(),
        "cases": len(direct),
        "differ": sorted(case for case in direct if direct[case] != router[case]),
        "verdicts": verdicts,
    }


def _order(item: tuple[str, str]) -> list[int]:
    return [int(part) for part in item[0].split(".")]


def _worse(direct: Verdicts, router: Verdicts) -> list[str]:
    """Return the cases that pass without the router and fail with it."""
    return [
        case
        for case, verdict in direct.items()
        if _passes(verdict) and not _passes(router.get(case, "MISSING / MISSING"))
    ]


def _passes(verdict: str) -> bool:
    return all(part in _GOOD for part in verdict.split(" / "))


def _under(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


if __name__ == "__main__":
    main()
