"""The platform stopped and started again by its user, also in the middle of a deployment."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import stop

from windlass.runtime.choose import identity

if TYPE_CHECKING:
    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"


def processes(word: str) -> list[str]:
    """Return the command lines of all processes that have a word in theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word in each for each in words):
            found.append(" ".join(words))
    return found


def containers(platform: Platform) -> list[str]:
    """Return the names of the containers of a platform, ended ones too."""
    chosen = f"name=windlass-{identity(platform.state)}"
    words = ["docker", "ps", "--all", "--filter", chosen, "--format", "{{.Names}}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def begin_deploy(platform: Platform, command: str) -> subprocess.Popen[str]:
    """Start a deployment that is not waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", "windlass.deploy.cli", "deploy", "hello", "--exec", command],
        env={**os.environ, "WINDLASS_SERVER": f"http://127.0.0.1:{platform.admin}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def is_clean(platform: Platform) -> bool:
    """Return whether nothing of a stopped platform runs or listens any more."""
    files = {path.name for path in platform.state.iterdir()}
    left = {name for name in files if name.endswith((".pid", ".sock"))}
    return not left and not processes(str(platform.state))


@pytest.mark.engine
async def test_services_come_back_after_a_stop_that_leaves_nothing_behind(
    docker_platform: Platform, hello_image: str
) -> None:
    platform = docker_platform
    await platform.succeed("deploy", "hello", "--image", hello_image, "--min-instances", "1")
    assert len(containers(platform)) == 1

    platform.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(platform.process.wait, 40) == 0
    assert containers(platform) == []
    assert is_clean(platform)

    await platform.up_again()
    statuses = [(await platform.get("hello"))[0] for _ in range(20)]
    assert statuses == [200] * 20
    await stop(platform)
    assert containers(platform) == []
    assert is_clean(platform)


@pytest.mark.parametrize("stopped", ["client", "platform"])
async def test_a_deployment_that_is_broken_off_leaves_nothing(
    process_platform: Platform, stopped: str
) -> None:
    platform = process_platform
    await platform.succeed("deploy", "hello", "--exec", HELLO)
    duration = f"{secrets.randbelow(10**6) + 10**6}.25"  # tells the process from all others
    deploying = begin_deploy(platform, f"sleep {duration}")

    async def is_starting() -> bool:
        return any(words.startswith("sleep ") for words in processes(duration))

    await platform.until(is_starting, 20)
    if stopped == "client":
        deploying.send_signal(signal.SIGINT)
    else:
        platform.process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.to_thread(deploying.communicate, None, 40)
    assert deploying.returncode != 0
    assert "Traceback" not in output

    async def is_gone() -> bool:
        return not processes(duration)

    await platform.until(is_gone, 20)
    if stopped == "client":
        assert (await platform.get("hello"))[0] == 200
        assert {i["revision"] for i in await platform.alive("hello")} == {"hello-00001"}
    await stop(platform)
    assert is_clean(platform)
