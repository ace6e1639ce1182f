"""The report: one file that needs nothing else, says what was measured, and that all can read."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import async_playwright, expect
from tests.browser import FLAGS, barriers
from tests.deploy.comparison.staged import SETTINGS, USUAL, comparison

from windlass.bench.compare import ModeResult
from windlass.bench.report import as_json
from windlass.bench.tally import LoadResult
from windlass.deploy.comparison.report import write

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page


@pytest.fixture(scope="module")
def text() -> str:
    return write(comparison(), USUAL)


def raw(text: str) -> Any:
    found = re.search(r'href="data:application/json;base64,([^"]+)"', text)
    assert found
    return json.loads(base64.b64decode(found[1]))


def test_the_raw_numbers_are_the_comparison_and_all_that_charts_draw(text: str) -> None:
    found = raw(text)
    expected = json.loads(json.dumps(as_json(comparison())))
    assert found["modes"] == expected["modes"]
    assert found["cost_ratio"] == pytest.approx(expected["cost_ratio"])
    assert sum(count for _, count in found["latency_histogram_ms"]["lambda"]) == 1800
    assert sum(second["requests"] for second in found["seconds"]["cloudrun"]) == 1800
    costs = {one["concurrency"]: one["shared_usd"] for one in found["cost_by_concurrency"]}
    assert min(costs) == 1
    assert max(costs) == 1000
    assert costs[1] > costs[10] > costs[80]


def test_it_loads_nothing(text: str) -> None:
    head = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r'\s(src|srcset)=|url\(|@import|<link|href="(?!data:|#)', head)


def test_it_says_the_table_the_ratio_and_what_is_assumed(text: str) -> None:
    for said in (
        *("One request per instance costs 9.4", "billed instance-seconds", "344.1", "$0.010210"),
        *("Each request begins when it began in cloudrun mode", "https://cloud.google.com/run"),
    ):
        assert said in text


def test_what_a_user_named_is_text_and_never_markup() -> None:
    name = "</script><img src=x onerror=alert(1)>"
    text = write(comparison(replace(SETTINGS, image=name)), USUAL)
    assert "&lt;img src=x" in text
    assert "<img" not in text
    assert raw(text)["settings"]["image"] == name


def test_a_run_without_an_answer_still_has_a_report() -> None:
    nothing = LoadResult()
    none = replace(
        comparison(),
        cloudrun=replace(comparison().cloudrun, load=nothing, course=()),
        lambda_=replace(comparison().lambda_, load=nothing, course=()),
        against=ModeResult(load=nothing),
    )
    text = write(none, USUAL)
    assert "What concurrency is worth" not in text
    assert "The other endpoint" in text


async def _open(page: Page, path: Path) -> None:
    await page.goto(path.as_uri())
    for name in ("latency", "course", "concurrency"):
        await page.wait_for_selector(f"#{name}[data-drawn]")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360], ids=["desk", "phone"])
async def test_in_a_browser_without_network_it_draws_its_charts_and_axe_finds_nothing(
    chromium: str, tmp_path: Path, text: str, scheme: Any, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(text)
    faults: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        context = await browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True
        )
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text))
        page.on("request", lambda r: faults.append(r.url) if r.url.startswith("http") else None)
        await _open(page, path)
        await expect(page.locator("#latency .legendtext")).to_have_count(2)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        for summary in await page.locator("summary").all():
            await summary.click()
        found = await barriers(page)
        async with page.expect_download() as coming:
            await page.get_by_role("link", name="Save them as JSON").click()
        saved = await (await coming.value).path()
        assert "modes" in json.loads(saved.read_bytes())
        await browser.close()
    assert found == []
    assert faults == []


@pytest.mark.slow
async def test_on_paper_the_charts_are_drawn_for_white(
    chromium: str, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(text)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = await browser.new_page(color_scheme="dark")
        await _open(page, path)
        colour = "getComputedStyle(document.querySelector('#latency .legendtext')).fill"
        assert await page.evaluate(colour) == "rgb(231, 235, 240)"
        await page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert await page.evaluate(colour) == "rgb(26, 31, 38)"
        await page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert await page.evaluate(colour) == "rgb(231, 235, 240)"
        await browser.close()
