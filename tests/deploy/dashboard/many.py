"""Measures the page of services with many of them: the first sight, and what each update takes.

    python -m tests.deploy.dashboard.many --out benchmarks/results/dashboard.json

The platform is the tests' staged one, in this process; every service's figures change between two
looks. Times are milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from playwright.async_api import async_playwright
from tests.browser import FLAGS
from tests.deploy.dashboard.staging import StagedPlatform, serve

from windlass.bench import machine

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

PAUSE = 50.0  # milliseconds of one task from which on a person sees a pause, as browsers count
WATCH = """() => {
  window.long = [];
  new PerformanceObserver((list) => window.long.push(...list.getEntries().map((e) => e.duration)))
    .observe({type: "longtask", buffered: true});
}"""


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    services: int
    answer: float  # median, from a request of the page to its whole answer
    kilobytes: float  # of the page
    first_sight: float  # from the call of the page to its first paint with content
    live: float  # from the call of the page to the first event
    updates: int
    update: float  # median of the browser's work for one update
    longest_update: float
    long_tasks: int  # over PAUSE, while it was updated


async def measure(browser: Browser, services: int, updates: int) -> Figures:
    """Open the page, and let every service change between looks."""
    platform = StagedPlatform()
    await platform.stage(*(f"service-{number:04}" for number in range(services)))
    async for site in serve(platform):
        answers, size = await _answers(site)
        page = await browser.new_page(viewport={"width": 1360, "height": 900})
        begun = time.monotonic()
        await page.goto(site)
        await page.wait_for_selector('.live[data-state="on"]')
        live = 1000 * (time.monotonic() - begun)
        sight = await page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        await page.evaluate(WATCH)
        works = [await _update(page, platform) for _ in range(updates)]
        long: list[float] = await page.evaluate("window.long.slice()")
        await page.goto("about:blank")  # its events end before the platform does
        await page.close()
    return Figures(
        services=services,
        answer=round(statistics.median(answers), 1),
        kilobytes=round(size / 1024, 1),
        first_sight=round(sight, 1),
        live=round(live, 1),
        updates=updates,
        update=round(statistics.median(works), 1),
        longest_update=round(max(works), 1),
        long_tasks=len([each for each in long if each > PAUSE]),
    )


async def _answers(site: str) -> tuple[list[float], int]:
    took, size = [], 0
    async with aiohttp.ClientSession(headers={"Accept": "text/html"}) as session:
        for _ in range(11):
            begun = time.monotonic()
            async with session.get(site) as answer:
                size = len(await answer.read())
            took.append(1000 * (time.monotonic() - begun))
    return took[1:], size  # the first one makes the templates


async def _update(page: Page, platform: StagedPlatform) -> float:
    """Change every service and wait for the page to show it; return the browser's work."""
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    looks = await page.evaluate("Number(document.body.dataset.looks)")
    before = await _work(session)
    for name in platform.busy:
        platform.busy[name] = 1 + (platform.busy[name] + 3) % 9
    await page.wait_for_selector(f'body[data-looks="{looks + 1}"]')
    after = await _work(session)
    await session.detach()
    return after - before


async def _work(session: Any) -> float:
    """Return the milliseconds that the page's main thread has worked so far."""
    found = await session.send("Performance.getMetrics")
    metrics = {one["name"]: one["value"] for one in found["metrics"]}
    return 1000 * float(metrics["TaskDuration"])


async def main() -> None:
    """Measure, and print or write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        few = await measure(browser, 10, given.updates)
        many = await measure(browser, given.services, given.updates)
        await browser.close()
    figures = {"machine": machine.describe(), "few": asdict(few), "many": asdict(many)}
    text = json.dumps(figures, indent=2) + "\n"
    if given.out:
        given.out.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    asyncio.run(main())
