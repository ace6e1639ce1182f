"""The page that compares in a real browser: under load, at the end, and when it goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect
from tests.browser import barriers
from tests.deploy.dashboard.staging import told
from tests.deploy.dashboard.test_browser import live, overflow

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page
    from tests.deploy.dashboard.staging import StagedPlatform

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
STATES = ("shared", "alone", "ended", "failed", "cancelled")


async def test_a_load_is_started_watched_and_cancelled(
    page: Page, site: str, staged: StagedPlatform
) -> None:
    await page.goto(f"{site}/compare")
    await expect(page.get_by_label("A deployed service")).to_have_value("checkout")
    await page.get_by_label("A deployed service").select_option("hello")
    await page.get_by_label("Path").fill("/?ms=200")
    await page.get_by_label("Path").press("Enter")
    await expect(page.get_by_role("status").nth(1)).to_have_text("It starts.")
    (run,) = staged.comparisons.known
    run.take(told("cloudrun", 3.0))
    side = page.get_by_role("region", name="Cloud Run mode")
    await expect(side).to_contain_text("$0.0001671 so far")
    await expect(side).to_contain_text("287 ms")
    await expect(page.locator("#run")).to_contain_text("Cloud Run mode is under load.")
    run.take(told("cloudrun", 30.0))
    for half in range(1, 13):
        run.take(told("lambda", half / 2))
    other = page.get_by_role("region", name="Lambda mode")
    await expect(other).to_contain_text("17.5\u00d7 as much as Cloud Run mode by this second")
    await expect(page.locator("#course .legendtext")).to_have_count(2)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#run")).to_contain_text("It was cancelled")
    await expect(page.get_by_label("Path")).to_have_value("/?ms=200")


async def test_the_page_shows_the_end_by_itself(
    page: Page, site: str, staged: StagedPlatform
) -> None:
    run = await staged.stage_run("alone")
    await page.goto(f"{site}/compare")
    await live(page)
    await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    staged.end_run(run)
    await expect(page.get_by_text("costs 8.7 times as much")).to_be_visible()
    await expect(page.get_by_role("link", name="See the whole report")).to_be_visible()
    await expect(page.get_by_role("button", name="Start")).to_be_visible()
    await expect(page).to_have_title("Compare: ended · Windlass")


async def test_a_run_that_another_page_starts_appears_by_itself(
    page: Page, site: str, staged: StagedPlatform
) -> None:
    await page.goto(f"{site}/compare")
    await live(page)
    await staged.stage_run("shared")
    await expect(page.get_by_text("Cloud Run mode is under load.")).to_be_visible()
    await page.wait_for_selector("#course[data-drawn]")


async def test_a_mistake_is_told_where_it_is_and_the_page_goes_on(
    browser: Browser, site: str, staged: StagedPlatform
) -> None:
    page = await browser.new_page()
    await page.goto(f"{site}/compare")
    await page.get_by_label("for", exact=True).fill("soon")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was started")
    field = page.get_by_label("for", exact=True)
    await expect(field).to_have_value("soon")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await page.get_by_role("link", name="duration").click()
    await expect(field).to_be_focused()
    await live(page)
    await staged.stage_run("shared")  # by someone else: the page is asked for anew, not posted
    await expect(page.get_by_text("Cloud Run mode is under load.")).to_be_visible()
    await page.close()


@pytest.mark.parametrize(
    ("state", "scheme"),
    [*((state, "light") for state in STATES), ("alone", "dark"), ("ended", "dark")],
)
async def test_axe_finds_nothing_in_any_state(
    browser: Browser, site: str, staged: StagedPlatform, state: str, scheme: Any
) -> None:
    await staged.stage_run(state)
    page = await browser.new_page(color_scheme=scheme, bypass_csp=True)
    await page.goto(f"{site}/compare")
    await live(page)
    await page.wait_for_selector("#course[data-drawn]")
    for width in (1360, 390):
        await page.set_viewport_size({"width": width, "height": 860})
        assert await barriers(page) == []
        assert await overflow(page) <= 0
    await page.close()


async def test_without_javascript_it_is_started_and_cancelled_all_the_same(
    browser: Browser, site: str
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{site}/compare")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_text("It starts.")).to_be_visible()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("It was cancelled")).to_be_visible()
    await context.close()
