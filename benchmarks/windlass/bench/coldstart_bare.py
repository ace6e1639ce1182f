"""Ways to start a server without a platform: a bare process, an OCI runtime alone, docker run,
podman run. Each is timed from the command to the first byte of its first answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windlass.runtime.oci import commands
from windlass.runtime.oci.commands import CommandFailed, ended, spawn
from windlass.runtime.oci.launcher import HERE, Launcher, launcher_for
from windlass.runtime.oci.parts import locate

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.bench.coldstart import App

ANSWERS_WITHIN = 30.0  # seconds
ATTEMPTS_EVERY = 0.001
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
# What a default ulimit of podman's asks for is not permitted on every machine.
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
PODMAN = ("--runtime", "runc", *ULIMITS, "--network", "host")


class Silent(Exception):
    """What was started answered nothing in time."""


async def first_byte(port: int) -> None:
    """Return when the server behind a port of this machine has answered.

    Raises:
        Silent: it did not.
    """
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            while not await _answers(port):  # noqa: ASYNC110  (another process changes it)
                await asyncio.sleep(ATTEMPTS_EVERY)
    except TimeoutError:
        raise Silent(f"nothing answered on port {port} within {ANSWERS_WITHIN:g} s") from None


async def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(REQUEST)
            return bool(await reader.read(1))  # a forwarder of docker's closes without a word
        finally:
            writer.close()
    return False


@dataclass(frozen=True, slots=True)
class Bare:
    """One way: the words that start a server on a port, and those that clean up after it."""

    words: Callable[[int, str], list[str]]  # port, name
    after: Callable[[str], list[str]] = lambda name: []
    env: bool = False  # the port goes into the environment
    returns: bool = False  # once it has started the server; before that nobody may ask
    launcher: Launcher = HERE

    async def run(self) -> float:
        """Start it, and return the seconds until it had answered."""
        port, name = free_port(), f"coldstart-{secrets.token_hex(4)}"
        env = {**os.environ, "PORT": str(port)} if self.env else dict(os.environ)
        begun = time.monotonic()
        # As the platform starts its programs: a fork of this process would take milliseconds.
        process = self.launcher.call(spawn, self.words(port, name), env=env)
        try:
            if self.returns:
                await _end_of(process)
            await first_byte(port)
            return time.monotonic() - begun
        finally:
            if after := self.after(name):
                with contextlib.suppress(CommandFailed):  # it has ended by itself
                    await commands.run(*after, launcher=self.launcher)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await _end_of(process)


async def _end_of(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        async with asyncio.timeout(ANSWERS_WITHIN):
            await ended(process)


async def bare_ways(app: App, folder: Path, chosen: str) -> dict[str, Bare]:
    """Return the ways that this machine has; the app's image is unpacked into the folder.

    `chosen` is the OCI runtime (crun or runc) that the platform takes here.
    """
    root = folder / app.name / "rootfs"
    loaded = await _unpack(app, root)
    ways = {"bare_process": Bare(lambda port, name: app.here(root), env=True)}
    for runtime in locate().runtimes:
        name = "oci_runtime" if runtime == chosen else Path(runtime).name
        ways[f"{name}_alone"] = _alone(app, root, runtime)
    # Asked before the container is up, docker's forwarder looks for an address that is not there
    # yet, and the kernel repeats its question for it only after a whole second.
    ways["docker_run"] = Bare(
        lambda port, name: [
            *("docker", "run", "--detach", "--rm", "--name", name),
            *("--publish", f"127.0.0.1:{port}:8080", "--env", "PORT=8080", app.image),
        ],
        lambda name: ["docker", "kill", name],
        returns=True,
    )
    if loaded:
        ways["podman_run"] = Bare(
            lambda port, name: [
                *("podman", "run", "--rm", *PODMAN, "--name", name, "--env", f"PORT={port}"),
                loaded,
            ],
            lambda name: ["podman", "kill", name],
        )
    return ways


def _alone(app: App, root: Path, runtime: str) -> Bare:
    return Bare(
        lambda port, name: [
            *(runtime, "run", "--bundle", str(_bundle(app, root, port, runtime)), name)
        ],
        lambda name: [runtime, "kill", name, "KILL"],
        launcher=launcher_for(runtime),
    )


async def _unpack(app: App, root: Path) -> str:
    """Put the files of an app's image into a folder, and into podman; return its name there."""
    await asyncio.to_thread(root.mkdir, parents=True)
    made = (await run("docker", "create", app.image)).strip()
    archive = str(root.with_name("image.tar"))
    await run("docker", "export", "--output", archive, made)
    await run("docker", "rm", made)
    await run("tar", "-C", str(root), "-xf", archive)
    if not shutil.which("podman"):
        return ""
    await run("docker", "save", "--output", archive, app.image)
    said = await run("podman", "load", "--quiet", "--input", archive)
    return said.rpartition("Loaded image")[2].partition(":")[2].strip()


def _bundle(app: App, root: Path, port: int, runtime: str) -> Path:
    """Write what the runtime's `spec` writes, for the app in the machine's own network."""
    bundle = root.parent
    path = bundle / "config.json"
    if not path.exists():
        subprocess.run([runtime, "spec"], cwd=bundle, check=True)
    spec = json.loads(path.read_text())
    process = spec["process"]
    process |= {"args": list(app.command), "terminal": False, "cwd": app.cwd}
    process["env"] = ["PATH=/usr/local/bin:/usr/bin:/bin", f"PORT={port}"]
    process.pop("rlimits", None)
    spec["root"] = {"path": "rootfs", "readonly": False}
    spaces = spec["linux"]["namespaces"]
    spec["linux"]["namespaces"] = [each for each in spaces if each["type"] != "network"]
    path.write_text(json.dumps(spec))
    return bundle


async def run(*words: str) -> str:
    """Run a command to its end and return what it said.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, check=True
    )
    return done.stdout


def free_port() -> int:
    """Return a port of loopback on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
