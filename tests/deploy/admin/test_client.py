"""The client: typed answers, refusals and a platform that is not there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from windlass.deploy.api.client import Client, Unreachable
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.schema import DeployRequest, Done, LogLineView, Step
from windlass.model.service import Container, Target, Template

if TYPE_CHECKING:
    from tests.deploy.memory import MemoryPlatform

    from windlass.deploy.api.schema import Progress


async def deploy(client: Client, image: str = "nginx", *, traffic: bool = True) -> list[Progress]:
    template = Template(container=Container(image=image))
    request = DeployRequest(name="hello", template=template, traffic=traffic)
    return [event async for event in client.deploy(request)]


async def test_a_deploy_yields_steps_and_the_service(client: Client) -> None:
    step, done = await deploy(client)
    assert step == Step("Starting an instance of nginx")
    assert isinstance(done, Done)
    assert done.service == await client.describe("hello")
    assert await client.services() == [done.service]


@pytest.mark.parametrize("image", ["missing", "crashing"])
async def test_a_failed_deploy_raises_its_problem(client: Client, image: str) -> None:
    with pytest.raises(Refused) as caught:
        await deploy(client, image)
    assert caught.value.problem.status == 422


async def test_every_view_comes_back_typed(client: Client, platform: MemoryPlatform) -> None:
    await deploy(client)
    assert await client.instances("hello") == await platform.instances("hello")
    assert await client.events("hello") == await platform.events("hello")
    assert await client.explain("hello") == await platform.explain("hello")
    assert await client.bill("hello") == await platform.bill("hello", None, None)
    assert await client.books() == await platform.books()
    assert await client.status() == await platform.status()


async def test_traffic_is_set_and_a_service_deleted(client: Client) -> None:
    await deploy(client)
    await deploy(client, traffic=False)
    assert (await client.describe("hello")).traffic[0].revision == "hello-00001"
    assert (await client.set_traffic("hello", [Target()])).traffic[0].revision == "hello-00002"
    await client.delete("hello")
    with pytest.raises(Refused, match="There is no service 'hello'"):
        await client.describe("hello")


async def test_a_name_with_slashes_stays_a_name(client: Client) -> None:
    with pytest.raises(Refused, match=r"There is no service '\.\./x'"):
        await client.describe("../x")


async def test_logs_are_followed(client: Client, platform: MemoryPlatform) -> None:
    await deploy(client)
    more = LogLineView(time=9.0, revision="r", instance="i", stream="stderr", text="more")
    platform.more_lines.put_nowait(more)
    texts = []
    async for line in client.logs("hello", tail=1, follow=True):
        texts.append(line.text)
        if line == more:
            break
    assert texts == ["line 4", "more"]


async def test_a_platform_that_is_not_there_is_said_with_the_next_step() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with Client(url) as client:
            with pytest.raises(Unreachable) as caught:
                await client.services()
    assert str(caught.value).startswith(f"No Windlass platform answers at {url} (")
    assert "`windlass up`" in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1", "http://[x"])
async def test_a_url_that_is_none_is_said(url: str) -> None:
    async with Client(url) as client:
        with pytest.raises(Unreachable, match="not a URL"):
            await client.services()


@pytest.mark.parametrize("status", [200, 500])
async def test_another_server_at_the_address_is_said(status: int) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", page)
    async with TestServer(app) as server, Client(str(server.make_url(""))) as client:
        with pytest.raises(Unreachable, match="does not speak Windlass' API"):
            await client.services()
