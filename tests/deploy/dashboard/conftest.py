"""The dashboard before a staged platform, and a real browser to look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import async_playwright, expect
from tests.browser import FLAGS
from tests.deploy.dashboard.staging import NAMES, StagedPlatform, serve

from windlass.deploy.api.server import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

expect.set_options(timeout=20_000)  # milliseconds: the machine may be busy


@pytest.fixture
async def staged() -> StagedPlatform:
    platform = StagedPlatform()
    await platform.stage(*NAMES)
    return platform


@pytest.fixture
async def http(staged: StagedPlatform) -> AsyncIterator[TestClient[Any, Any]]:
    """Plain HTTP to the staged platform's admin port, as a browser asks."""
    async with TestClient(TestServer(make_app(staged)), headers={"Accept": "text/html"}) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def site(staged: StagedPlatform) -> AsyncIterator[str]:
    """The address of the staged platform's dashboard."""
    async for address in serve(staged):
        yield address


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, site: str) -> AsyncIterator[Page]:
    """A page that must come through the test without an error on its console.

    It is closed before its site ends.
    """
    page = await browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    yield page
    await page.close()
    assert [fault for fault in faults if "404 (Not Found)" not in fault] == []
