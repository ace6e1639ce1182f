"""The demo: what Windlass is for, shown in about two minutes with the commands a user would type.

It starts a platform of its own in a temporary folder, deploys the example, calls it, watches its
instances rise from zero and go back, and compares the price of both modes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import click
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

console = Console(highlight=False)

READY_WITHIN = 60.0  # seconds for the platform to answer
ZERO_WITHIN = 90.0  # seconds for the last instance to be gone, with the demo's short windows
BURST = 60  # requests at once, three times the concurrency that the demo deploys with
CONCURRENCY = 20
LOG_LINES = 15  # shown where a step fails


class DemoFailed(Exception):
    """A step of the demo did not do what it shows."""


@click.command()
@click.option("--runtime", default="auto", show_default=True, help="auto, docker or process.")
@click.option("--image", default="", help="The example's image; without it, it runs as a process.")
@click.option("--duration", default="25s", show_default=True, help="Of each mode's load.")
def main(runtime: str, image: str, duration: str) -> None:
    """Deploy the example, from zero to several instances and back, and compare both modes."""
    try:
        asyncio.run(_Demo(runtime, image, duration).run())
    except DemoFailed as failure:
        console.print(f"[red]demo failed:[/] {failure}")
        sys.exit(1)


class _Demo:
    """One run: a platform of its own on free ports."""

    def __init__(self, runtime: str, image: str, duration: str) -> None:
        server = Path("examples/hello/server.py").resolve()
        self.what = ["--image", image] if image else ["--exec", f"{sys.executable} {server}"]
        self.compared = [image] if image else ["--exec", self.what[1]]
        self.runtime = runtime if image else "process"
        self.duration = duration
        self.http, self.admin = _free_port(), _free_port()
        self.begin = time.monotonic()

    async def run(self) -> None:
        with tempfile.TemporaryDirectory(
            prefix="windlass-demo-", ignore_cleanup_errors=True
        ) as state:
            async with self._platform(state), aiohttp.ClientSession() as self.session:
                await self._deploy()
                await self._until_zero("nobody calls")
                await self._one_request()
                await self._burst()
                await self._until_zero("the load is over")
                await self._compare()

    async def _deploy(self) -> None:
        self._say("Deploy the example: one instance is started to check it.")
        short = ["--window", "6s", "--scale-to-zero-grace", "2s"]
        await self._windlass(
            "deploy", "hello", *self.what, "--concurrency", str(CONCURRENCY), *short
        )

    async def _one_request(self) -> None:
        self._say("One request at zero instances: it waits while an instance starts.")
        begin = time.monotonic()
        await self._get("/?ms=50")
        console.print(
            f"  answered after {time.monotonic() - begin:.2f} s, of which 0.05 s are work"
        )
        begin = time.monotonic()
        await self._get("/?ms=50")
        console.print(f"  the next one after {time.monotonic() - begin:.2f} s")

    async def _burst(self) -> None:
        self._say(f"{BURST} requests at once, {CONCURRENCY} to an instance:")
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._get("/?ms=3000") for _ in range(BURST)))
        watch.cancel()
        console.print(f"  all {BURST} answered")

    async def _until_zero(self, why: str) -> None:
        self._say(f"Back to zero, because {why}:")
        async with asyncio.timeout(ZERO_WITHIN):
            await self._watch(until_zero=True)

    async def _compare(self) -> None:
        self._say("The same load on both modes, and what each would cost:")
        await self._windlass(
            "compare", *self.compared, "--rate", "100", "--duration", self.duration,
            "--path", "/?ms=200",
        )  # fmt: skip

    async def _watch(self, *, until_zero: bool = False) -> None:
        """Print the number of instances by state whenever it changes."""
        shown = None
        while True:
            states = [i["state"] for i in await self._instances()]
            alive = [s for s in states if s not in ("stopped", "failed")]
            counts = ", ".join(f"{alive.count(s)} {s}" for s in sorted(set(alive))) or "none"
            if counts != shown:
                console.print(f"  {time.monotonic() - self.begin:6.1f} s  instances: {counts}")
                shown = counts
            if until_zero and not alive:
                return
            await asyncio.sleep(0.1)

    async def _instances(self) -> list[dict[str, str]]:
        url = f"http://127.0.0.1:{self.admin}/api/v1/services/hello/instances"
        async with self.session.get(url) as response:
            return list(await response.json())

    async def _get(self, path: str) -> None:
        headers = {"Host": "hello.localhost"}
        url = f"http://127.0.0.1:{self.http}{path}"
        async with self.session.get(url, headers=headers) as response:
            if response.status != 200:
                raise DemoFailed(f"GET {path}: {response.status} {await response.text()}")

    @contextlib.asynccontextmanager
    async def _platform(self, state: str) -> AsyncIterator[None]:
        self._say("Start the platform.")
        words = self._command(
            "up", "--runtime", self.runtime, "--state", state,
            "--http", f"127.0.0.1:{self.http}", "--admin", f"127.0.0.1:{self.admin}",
        )  # fmt: skip
        log_file = Path(state, "up.log")
        process = _start(words, log_file)
        try:
            await self._until_ready(process)
            yield
        except DemoFailed:
            console.print("[red]The platform's last lines:[/]")
            last = await asyncio.to_thread(log_file.read_text)
            console.print("\n".join(last.splitlines()[-LOG_LINES:]), markup=False)
            raise
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)

    async def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with aiohttp.request("GET", f"http://127.0.0.1:{self.admin}/healthz"):
                    return
            await asyncio.sleep(0.1)
        raise DemoFailed("the platform does not come up")

    async def _windlass(self, *words: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command(*words),
            env={**os.environ, "WINDLASS_SERVER": f"http://127.0.0.1:{self.admin}"},
        )
        if await process.wait() != 0:
            raise DemoFailed(f"windlass {words[0]} exited with {process.returncode}")

    def _command(self, *words: str) -> list[str]:
        shown = (
            shlex.join(words).replace(str(Path.cwd()) + "/", "").replace(sys.executable, "python3")
        )
        console.print(f"[dim]$ windlass {shown}[/]", soft_wrap=True)
        return [sys.executable, "-m", "windlass.deploy.cli", *words]

    def _say(self, text: str) -> None:
        console.print(f"\n[bold]{text}[/]")


def _start(words: list[str], log_file: Path) -> subprocess.Popen[bytes]:
    with log_file.open("wb") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
