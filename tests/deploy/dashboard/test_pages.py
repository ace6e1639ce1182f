"""The pages as they are sent: readable without JavaScript, safe with any name or text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from tests.deploy.dashboard.staging import NAMES, StagedPlatform

from windlass.deploy.api.server import make_app

Http = TestClient[Any, Any]
PATHS = ("/", "/services/hello", "/cost", "/compare")


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_says_what_a_browser_may_do_and_that_is_little(http: Http, path: str) -> None:
    answer = await http.get(path)
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_has_no_script_or_style_within_it(http: Http, path: str) -> None:
    text = await (await http.get(path)).text()
    scripts = re.findall(r"<script([^>]*)>", text)
    assert all("src=" in each or "application/json" in each for each in scripts)
    assert not re.search(r"\son\w+=|<style|\sstyle=|https?://(?!\S*localhost)", text)


@pytest.mark.parametrize("path", PATHS)
async def test_all_that_a_page_loads_is_there_and_may_be_kept(http: Http, path: str) -> None:
    text = await (await http.get(path)).text()
    assets = set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', text))
    assert len(assets) >= 3
    for each in assets:
        answer = await http.get(each)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]


async def test_an_asset_of_another_content_or_name_is_not_there(http: Http) -> None:
    for path in (
        "/assets/0000000000000000/app.css",
        "/assets/x/pages.py",
        "/assets/x/..%2Fpage.py",
    ):
        assert (await http.get(path)).status == 404


async def test_services_are_listed_with_what_they_do_and_cost(http: Http) -> None:
    text = await (await http.get("/")).text()
    for name in NAMES:
        assert f'<a href="/services/{name}">{name}</a>' in text
    row = text.split('id="row-hello"')[1].split("</tr>")[0]
    assert "90" in row
    assert "12 <small>waiting" in row
    assert "$0.1100" in row
    assert "Lambda $0.8300" in row


async def test_a_service_s_page_shows_lives_decisions_revisions_log_and_events(http: Http) -> None:
    text = await (await http.get("/services/hello")).text()
    for expected in (
        *("hello-00001-aaaaa", "10 requests wait, 1 instance is full", "shop/hello"),
        *("GET /items/39", "out of memory", 'data-figure="lives"'),
    ):
        assert expected in text


async def test_what_an_instance_wrote_is_text_and_never_markup(
    http: Http, staged: StagedPlatform
) -> None:
    staged.lines["hello"] += ["</pre><script>alert(1)</script>", "\x1b[31mred &amp; \u202e"]
    text = await (await http.get("/services/hello")).text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&amp;amp;" in text


async def test_a_search_for_markup_is_shown_as_text(http: Http) -> None:
    text = await (await http.get("/", params={"q": '"><b>x'})).text()
    assert "<b>x" not in text
    assert "Show all 8 services" in text


async def test_a_platform_without_services_says_how_to_deploy_one() -> None:
    async with TestClient(TestServer(make_app(StagedPlatform()))) as client:
        text = await (await client.get("/")).text()
    assert "windlass deploy hello --image" in text


async def test_a_service_that_is_not_there_says_what_to_do(http: Http) -> None:
    answer = await http.get("/services/nothing")
    text = await answer.text()
    assert answer.status == 404
    assert "There is no service &#39;nothing&#39;" in text
    assert "windlass services list" in text
    assert (await http.get("/live/services/nothing")).status == 404


async def test_the_api_s_errors_stay_problems_for_browsers_too(http: Http) -> None:
    answer = await http.get("/api/v1/services/nothing")
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=99",
        "page=x",
        "page=1e9",
        "sort=__class__",
        "sort=cost",
        "q=%00",
        "q=" + "x" * 900,
    ],
)
async def test_whatever_is_asked_of_the_list_gets_a_page(http: Http, query: str) -> None:
    assert (await http.get(f"/?{query}")).status == 200


async def test_a_range_that_makes_no_sense_is_refused_with_a_way_out(http: Http) -> None:
    for query in ("from=yesterday", "from=2026-01-02T00:00&to=2026-01-01T00:00", "to=9999-99-99"):
        answer = await http.get(f"/cost?{query}")
        assert answer.status == 422
        assert "range" in await answer.text() or "2026-11-30T18:00" in await answer.text()


async def test_a_given_range_is_what_the_platform_is_asked_for(
    http: Http, staged: StagedPlatform
) -> None:
    await http.get("/cost?service=hello&from=2026-01-01T00:00&to=2026-01-01T02:00")
    service, book, since = staged.billed[0]
    assert (service, book, since) == ("hello", None, 1767225600.0)


async def test_a_page_of_another_site_can_neither_frame_nor_call_a_page(http: Http) -> None:
    answer = await http.get("/", headers={"Origin": "http://evil.example"})
    assert answer.status == 403
    answer = await http.get("/", headers={"Host": "evil.example"})
    assert answer.status == 421


async def test_a_page_goes_on_when_the_ledger_cannot_be_read(
    http: Http, staged: StagedPlatform
) -> None:
    staged.ledger_fails = True
    assert (await http.get("/")).status == 200
    answer = await http.get("/cost")
    assert answer.status == 503
    assert "the ledger cannot be read" in await answer.text()


async def test_events_send_all_first_and_then_what_changed(
    http: Http, staged: StagedPlatform
) -> None:
    async with http.get("/live/") as answer:
        assert answer.content_type == "text/event-stream"
        first = await answer.content.readuntil(b"\n\n")
        assert b'"list":' in first
        assert b'"summary":' in first
        staged.busy["hello"] = 1
        second = await answer.content.readuntil(b"\n\n")
        assert b"row-hello" in second


async def test_events_end_with_a_reason_when_the_service_is_deleted(
    http: Http, staged: StagedPlatform
) -> None:
    async with http.get("/live/services/hello") as answer:
        await answer.content.readuntil(b"\n\n")
        await staged.delete("hello")
        last = await answer.content.readuntil(b"\n\n")
    assert last.startswith(b"event: gone")
    assert b"There is no service" in last


def test_every_template_can_be_read() -> None:
    from windlass.deploy.dashboard.page import TEMPLATES

    names = TEMPLATES.list_templates()
    assert "parts/list.html" in names
    for name in names:
        TEMPLATES.get_template(name)
