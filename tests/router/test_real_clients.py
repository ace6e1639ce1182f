"""The router as real programs meet it: curl, h2load, and a browser."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from aiohttp import WSMsgType, web
from playwright.async_api import async_playwright
from tests.browser import FLAGS

from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page
    from tests.router.conftest import Rig

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><title>hello</title><script>
const told = []
new EventSource("/events").onmessage = event => {
    told.push([event.data, performance.now()])
    if (told.length == 3) { window.events = told }
}
const socket = new WebSocket(`ws://${location.host}/echo`)
socket.onopen = () => socket.send("from the browser")
socket.onmessage = message => { window.echoed = message.data }
</script>"""


async def page(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(3):
        await response.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(0.3)
    return response


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"echo: {message.data}")
    return socket


async def length(request: web.Request) -> web.Response:
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


@pytest.fixture
async def site(rig: Rig) -> AsyncIterator[Rig]:
    """A worker before a real HTTP server."""
    app = web.Application(client_max_size=0)
    app.add_routes([web.get("/", page), web.get("/events", events), web.get("/echo", echo)])
    app.add_routes([web.post("/length", length)])
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    rig.node.say(link.InstanceGone("hello-00001-a"))
    rig.ready("hello-00001-b", runner.addresses[0][1])
    await rig.until(lambda: list(rig.worker.dispatch.leases()) == ["hello-00001-b"])
    yield rig
    await runner.cleanup()


async def run(*words: str) -> str:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
async def test_curl_gets_and_posts_in_every_version(site: Rig, version: str) -> None:
    address = f"http://127.0.0.1:{site.port}"
    known = ("-sS", version, "-H", "Host: hello.localhost", "--max-time", "20")
    assert "<title>hello</title>" in await run("curl", *known, f"{address}/")
    body = "x" * 100_000
    posted = ("curl", *known, "-d", body, f"{address}/length")
    assert await run(*posted) == "100000"
    if version != "--http1.0":  # which knows no chunks
        chunked = await run(
            *posted, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"
        )
        assert chunked == "100000"
    await site.free()


async def test_h2load_gets_every_answer_over_a_few_connections(site: Rig) -> None:
    said = await run(
        "h2load", "-n", "2000", "-c", "4", "-m", "20", "-H", ":authority: hello.localhost",
        f"http://127.0.0.1:{site.port}/",
    )  # fmt: skip
    found = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", said)
    assert found, said
    assert found.groups() == ("2000", "0", "0")
    await site.free()


async def test_a_browser_gets_events_as_they_happen_and_talks_over_a_websocket(
    site: Rig, chromium: str
) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        await _look(site, await browser.new_page())
        await browser.close()
    await site.free()


async def _look(site: Rig, tab: Page) -> None:
    await tab.goto(f"http://hello.localhost:{site.port}/")
    await tab.wait_for_function("window.events && window.echoed", timeout=15_000)
    told = await tab.evaluate("window.events")
    assert [data for data, _ in told] == ["0", "1", "2"]
    assert told[2][1] - told[0][1] > 300  # not all at the end
    assert await tab.evaluate("window.echoed") == "echo: from the browser"
