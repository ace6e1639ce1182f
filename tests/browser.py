"""How tests start a browser: as root, alone, without a word to anyone outside. What axe says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has none

if TYPE_CHECKING:
    from playwright.async_api import Page

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


async def barriers(page: Page) -> list[tuple[str, str, str]]:
    """Return what axe finds that keeps people out: rule, explanation and the element it is at."""
    found = await Axe().run(page)
    return [(v["id"], v["help"], v["nodes"][0]["html"]) for v in found.response["violations"]]
