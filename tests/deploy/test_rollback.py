"""A tag that is built anew changes no revision: one that gets traffic again serves what it did."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.images import BASE
from tests.platform.oci.containers import busybox_files, write_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.slow]

# Nothing runs before it is asked for, so that what a start finds is what is tested.
FLAGS = ("--port", "8080", "--no-deploy-health-check", "--standby", "0")


async def check_rollback(platform: Platform, image: str, build: Callable[[str], object]) -> None:
    """Deploy one name for two images, then go back; `build` makes the name mean another."""
    for version in ("v1", "v2"):
        build(version)
        await platform.succeed("deploy", "hello", "--image", image, *FLAGS)
    assert await platform.get("hello") == (200, "v2\n")
    back = ("services", "update-traffic", "hello", "--to-revisions", "hello-00001=100")
    await platform.succeed(*back)
    assert await platform.get("hello") == (200, "v1\n")
    described = await platform.json("services", "describe", "hello")
    second, first = (revision["image_digest"] for revision in described["revisions"])
    assert first.startswith("sha256:")
    assert first != second


async def test_a_rollback_runs_what_ran_before_on_oci(
    oci_platform: Platform, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    config: dict[str, object] = {"Cmd": ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"]}

    def build(version: str) -> None:
        shutil.rmtree(layout, ignore_errors=True)
        page = {"www/index.html": f"{version}\n".encode()}
        write_layout(layout, config, busybox_files() | page)

    await check_rollback(oci_platform, f"oci:{layout}:latest", build)


@pytest.fixture
def tag(engine: str) -> Iterator[str]:
    """A name for images, which are removed once the platform of the test is gone."""
    name = f"windlass-test/moving:{secrets.token_hex(4)}"
    yield name
    found = docker("image", "ls", "--quiet", "--no-trunc", "--filter", f"label=moves={name}")
    docker("image", "rm", "--force", *set(found.split()))


async def test_a_rollback_runs_what_ran_before_on_docker(
    tag: str, docker_platform: Platform
) -> None:
    serve = "cd /tmp && echo $VERSION > index.html && exec python3 -m http.server 8080"

    def build(version: str) -> None:
        file = f"FROM {BASE}\nLABEL moves={tag}\nENV VERSION={version}\nCMD {serve}\n"
        docker("build", "--tag", tag, "-", given=file)

    await check_rollback(docker_platform, tag, build)


def docker(*words: str, given: str = "") -> str:
    done = subprocess.run(
        ["docker", *words], input=given, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
