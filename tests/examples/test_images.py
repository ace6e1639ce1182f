"""The images that other tests deploy: each answers in a container as its fixture says."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def published(image: str, port: int, *options: str) -> Iterator[tuple[str, str]]:
    """Run an image; yield its container and the URL under which its port is reached."""
    container = docker("run", "--detach", "--publish", f"127.0.0.1::{port}", *options, image)
    try:
        yield container, f"http://{docker('port', container, str(port)).splitlines()[0]}"
    finally:
        docker("rm", "--force", container)


async def answer(url: str) -> str:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            try:
                async with session.get(url) as response:
                    assert response.status == 200
                    return await response.text()
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)


async def test_hello_listens_on_its_port_and_ends_with_0(hello_image: str) -> None:
    with published(hello_image, 8099, "--env", "PORT=8099") as (container, url):
        assert '"max_in_flight": 1' in await answer(url)
        docker("stop", "--time", "10", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"


async def test_nginx_answers_on_port_8080(nginx_image: str) -> None:
    with published(nginx_image, 8080) as (_, url):
        assert "Welcome to nginx" in await answer(url)


async def test_lighttpd_answers_on_the_port_it_is_given(other_server_image: str) -> None:
    with published(other_server_image, 8099, "--env", "PORT=8099") as (_, url):
        assert "lighttpd" in await answer(url)
