"""The page that compares: what its form takes and refuses, and who may use its buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient

from windlass.bench.compare import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.dashboard.staging import StagedPlatform

Http = TestClient[Any, Any]
FORM = {"service": "hello", "image": "", "exec": "", "amount": "60", "kind": "rate"} | {
    "duration": "12s", "path": "/?ms=200", "concurrency": "", "cpu": "", "memory": ""
}  # fmt: skip


async def post(http: Http, **changes: str) -> tuple[int, str]:
    async with http.post("/compare", data=FORM | changes, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_a_form_starts_a_comparison_of_what_the_service_runs(
    http: Http, staged: StagedPlatform
) -> None:
    status, _ = await post(http, concurrency="40")
    assert status == 303
    (asked,) = staged.comparisons.asked
    assert asked.settings == Settings(
        service="hello",
        image="shop/hello",
        rate=60,
        duration=12,
        ramp=2,
        path="/?ms=200",
        concurrency=40,
    )
    assert asked.template.container.image == "shop/hello"


async def test_an_image_or_a_command_with_clients_is_as_good(
    http: Http, staged: StagedPlatform
) -> None:
    await post(http, service="", exec="sleep '1 2'", kind="clients", amount="7", cpu="500m")
    (asked,) = staged.comparisons.asked
    load = asked.settings
    assert (load.exec, load.clients, load.milli_cpu) == (("sleep", "1 2"), 7, 500)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"duration": "soon"}, "duration", "a duration such as 30s"),
        ({"duration": ""}, "duration", "a duration such as 30s"),
        ({"duration": "2h"}, "duration", "1s to 15m"),
        ({"duration": "0"}, "duration", "1s to 15m"),
        ({"amount": "many"}, "amount", "a number above zero"),
        ({"amount": ""}, "amount", "a number above zero"),
        ({"amount": "1e9"}, "amount", "at most 5000"),
        ({"amount": "0", "kind": "clients"}, "amount", "1 to 2000 clients"),
        ({"amount": "1.5", "kind": "clients"}, "amount", "a whole number"),
        ({"path": "x"}, "path", "a path that starts with"),
        ({"concurrency": "0"}, "concurrency", "1 to 1000"),
        ({"cpu": "fast"}, "cpu", "vCPUs such as"),
        ({"memory": "1"}, "memory", "16Mi to 1Ti"),
        ({"service": "nothing"}, "service", "no service"),
        ({"service": ""}, "service", "exactly one of them"),
        ({"image": "nginx"}, "image", "exactly one of them"),
        ({"service": "", "exec": "'"}, "exec", "check its quotes"),
    ],
)
async def test_a_wrong_field_is_named_with_what_it_may_be_and_nothing_is_lost(
    http: Http, staged: StagedPlatform, changes: dict[str, str], field: str, said: str
) -> None:
    status, text = await post(http, **changes)
    assert status == 422
    marked = text.split(f'id="{field}-wrong">')
    assert len(marked) == 2, text
    assert said in marked[1].split("</small>")[0]
    assert f'href="#{field}"' in text
    assert 'value="60"' in text or "amount" in changes
    assert staged.comparisons.asked == []


async def test_a_second_one_is_refused_while_one_runs(http: Http, staged: StagedPlatform) -> None:
    await post(http)
    status, text = await post(http)
    assert status == 422
    assert "A comparison runs already" in text
    assert len(staged.comparisons.asked) == 1
    async with http.post("/compare/cancel", allow_redirects=False) as answer:
        assert answer.status == 303
    assert (await post(http))[0] == 303


@pytest.mark.parametrize("path", ["/compare", "/compare/cancel"])
async def test_another_site_s_page_can_neither_start_nor_cancel(
    http: Http, staged: StagedPlatform, path: str
) -> None:
    await staged.stage_run("shared")
    for origin in ("http://evil.example", "null"):
        async with http.post(path, data=FORM, headers={"Origin": origin}) as answer:
            assert answer.status == 403
    async with http.post(path, data=FORM, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
    assert len(staged.comparisons.asked) == 1
    assert staged.comparisons.known[0].state == "running"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("shared", "Cloud Run mode is under load."),
        ("alone", "Lambda mode is under load."),
        ("ended", "costs 8.7 times as much"),
        ("failed", "no such file"),
        ("cancelled", "It was cancelled"),
    ],
)
async def test_a_run_is_shown_as_it_stands(
    http: Http, staged: StagedPlatform, state: str, said: str
) -> None:
    await staged.stage_run(state)
    text = await (await http.get("/compare")).text()
    assert said in text
    is_running = state in ("shared", "alone")
    assert ('action="/compare/cancel"' in text) == is_running
    assert ('id="duration"' in text) != is_running
    assert ("report.html" in text) == (state == "ended")
    if not is_running:  # the form asks for the same again
        assert 'value="/?ms=200"' in text
        assert 'value="20s"' in text


async def test_a_report_is_served_without_access_to_the_platform(
    http: Http, staged: StagedPlatform, tmp_path: Path
) -> None:
    run = await staged.stage_run("ended")
    tmp_path.joinpath("report.html").write_text("<p>charts")
    staged.comparisons.reports[run.id] = tmp_path / "report.html"
    answer = await http.get(f"/compare/{run.id}/report.html")
    assert await answer.text() == "<p>charts"
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox allow-scripts allow-downloads" in policy
    assert "default-src 'none'" in policy
    for unknown in ("x", "..%2f..", "17000-9"):
        assert (await http.get(f"/compare/{unknown}/report.html")).status == 404


async def test_a_service_that_a_run_deployed_cannot_be_chosen(
    http: Http, staged: StagedPlatform
) -> None:
    run = await staged.stage_run("ended")
    run.services.append("login")
    text = await (await http.get("/compare")).text()
    options = text.split('<select id="service"')[1].split("</select>")[0]
    assert "hello" in options
    assert "login" not in options


async def test_what_was_typed_is_shown_as_text(http: Http) -> None:
    _, text = await post(http, duration='"><b>x')
    assert "<b>x" not in text
