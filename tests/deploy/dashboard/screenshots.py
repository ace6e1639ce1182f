"""Takes the documentation's pictures of a dashboard that runs.

    python -m tests.deploy.dashboard.screenshots http://127.0.0.1:8090 docs/screenshots

It takes every page as it is at that moment; have services under load before. `--service` names the
one whose page is taken. With `--compare` it starts a comparison of that service instead, and takes
it under load and at its end, with its report.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright
from rich.console import Console
from tests.browser import FLAGS

from windlass.deploy.api.client import Client
from windlass.deploy.cli.top import look
from windlass.deploy.cli.top_view import draw

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

COMPARED_WITHIN = 600_000  # milliseconds
PATIENCE = 120_000  # milliseconds until a page is there: the machine is under load


async def take(
    browser: Browser, url: str, path: Path, scheme: str, width: int, height: int
) -> None:
    """Take one page, as high as asked; 0: the whole of it."""
    page = await browser.new_page(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": height or 900},
    )
    await page.goto(url, timeout=PATIENCE)
    await page.wait_for_timeout(2500)  # charts are drawn, the first events have come
    await page.screenshot(path=path, full_page=not height)
    await page.close()


async def pages(browser: Browser, url: str, directory: Path, service: str) -> None:
    """Take the pages as they are."""
    for name, path, height in (("services", "/", 740), ("service", f"/services/{service}", 1240)):
        for scheme in ("light", "dark"):
            file = directory / f"{name}-{scheme}.png"
            await take(browser, url + path, file, scheme, 1360, height)
        await take(browser, url + path, directory / f"{name}-phone.png", "light", 390, 1100)
    await terminal(browser, url, directory / "top.png")
    await take(browser, f"{url}/cost", directory / "cost-light.png", "light", 1360, 900)


async def terminal(browser: Browser, url: str, path: Path) -> None:
    """Take `windlass top` as a terminal shows it."""
    async with Client(url) as client:
        seen = await look(client, "")
    console = Console(record=True, width=104, file=StringIO(), force_terminal=True)
    console.print(draw(seen, 104, 30))
    # rich's picture names fonts of another site, which nobody asks here.
    svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="windlass top"), flags=re.S)
    page = await browser.new_page(viewport={"width": 1300, "height": 700})
    await page.set_content(f"<style>body{{margin:0}}svg{{width:1300px}}</style>{svg}")
    await page.locator("svg").first.screenshot(path=path)
    await page.close()


async def compare(browser: Browser, url: str, directory: Path, service: str, path: str) -> None:
    """Start a comparison as a person does, and take it while it runs and when it has ended."""
    page = await browser.new_page(viewport={"width": 1360, "height": 900})
    await page.goto(f"{url}/compare?service={service}")
    await page.get_by_label("How much").fill("40")
    await page.get_by_label("for", exact=True).fill("20s")
    await page.get_by_label("Path").fill(path)
    await page.get_by_role("button", name="Start").click()
    await _until(page, "Lambda mode is under load.")
    await page.wait_for_timeout(11_000)
    await page.screenshot(path=directory / "compare-light.png", full_page=True)
    await asyncio.gather(
        take(browser, f"{url}/compare", directory / "compare-dark.png", "dark", 1360, 900),
        take(browser, f"{url}/compare", directory / "compare-phone.png", "light", 390, 1500),
    )
    await _until(page, "The comparison is over.")
    await page.wait_for_timeout(2500)
    await page.screenshot(path=directory / "compare-ended.png")
    report = await page.get_by_role("link", name="See the whole report").get_attribute("href")
    await take(browser, f"{url}{report}", directory / "report-light.png", "light", 1100, 0)
    await take(browser, f"{url}{report}", directory / "report-dark.png", "dark", 1100, 1300)
    await take(browser, f"{url}{report}", directory / "report-phone.png", "light", 390, 1500)
    await page.close()


async def _until(page: Page, said: str) -> None:
    await page.get_by_text(said).first.wait_for(timeout=COMPARED_WITHIN)


async def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--service", default="checkout")
    parser.add_argument("--compare", default="")
    parser.add_argument("--path", default="/?ms=200")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        if given.compare:
            await compare(browser, given.url, given.directory, given.compare, given.path)
        else:
            await pages(browser, given.url, given.directory, given.service)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
