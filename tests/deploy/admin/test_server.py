"""The API as any HTTP client sees it: paths, statuses, problems, streams, and who is kept out."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec

import pytest
from aiohttp import ClientConnectionResetError
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request

from windlass.deploy.api.schema import Heartbeat, Step
from windlass.deploy.api.stream import lively, stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiohttp import ClientResponse
    from aiohttp.test_utils import TestClient as HttpClient
    from tests.deploy.memory import MemoryPlatform

    from windlass.deploy.api.schema import Progress

    Http = HttpClient[Any, Any]

MANIFEST = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: x}
spec: {template: {spec: {containers: [{image: nginx}]}}}
"""


def request(**changes: object) -> dict[str, object]:
    return {"name": "hello", "template": {"container": {"image": "nginx"}}, **changes}


async def deploy(http: Http, image: str = "nginx", **changes: object) -> ClientResponse:
    template = {"container": {"image": image}}
    return await http.post("/api/v1/services", json=request(template=template, **changes))


async def lines(response: ClientResponse) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await response.text()).splitlines()]


async def problem_of(response: ClientResponse) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    found: dict[str, Any] = json.loads(await response.text())
    assert found["status"] == response.status
    return found


async def test_a_deploy_answers_with_its_progress_and_the_service_last(http: Http) -> None:
    response = await deploy(http)
    assert (response.status, response.content_type) == (200, "application/x-ndjson")
    step, done = await lines(response)
    assert step == {"kind": "step", "message": "Starting an instance of nginx"}
    assert (done["kind"], done["service"]["url"]) == ("done", "http://hello.localhost:8080")


async def test_a_refusal_before_the_first_step_has_its_own_status(http: Http) -> None:
    found = await problem_of(await deploy(http, "missing"))
    assert (found["status"], found["type"]) == (422, "urn:windlass:problem:image-missing")


async def test_a_refusal_after_a_step_is_the_last_line(http: Http) -> None:
    *_, failed = await lines(await deploy(http, "crashing"))
    assert failed["kind"] == "failed"
    assert failed["problem"]["log_lines"] == ["starting", "cannot go on"]
    assert await (await http.get("/api/v1/services")).json() == []


async def test_a_fault_of_ours_says_no_more_than_that(http: Http, platform: MemoryPlatform) -> None:
    assert (await problem_of(await deploy(http, "broken")))["status"] == 500
    platform.broken = True
    found = await problem_of(await http.get("/healthz"))
    assert found["detail"] == "A fault of Windlass; its log says more."


async def test_wrong_fields_of_a_deploy_are_told_together(
    http: Http, platform: MemoryPlatform
) -> None:
    wrong = {"container": {"image": "nginx", "port": 0}, "limits": {"concurrency": 1001}}
    found = await problem_of(
        await http.post("/api/v1/services", json=request(name="Hello", template=wrong))
    )
    assert [error["path"] for error in found["errors"]] == [
        "name",
        "template.container.port",
        "template.limits.concurrency",
    ]
    assert found["errors"][2]["value"] == "1001"
    assert not platform.known


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"name": 1}', b'{"name": "a", "x": 1}'])
async def test_a_body_that_is_no_deploy_is_refused(http: Http, body: bytes) -> None:
    assert (await problem_of(await http.post("/api/v1/services", data=body)))["status"] == 422


async def test_a_body_over_the_limit_is_refused(http: Http) -> None:
    response = await http.post("/api/v1/services", data=io.BytesIO(b"x" * (1024**2 + 1)))
    assert (await problem_of(response))["status"] == 413


async def test_a_manifest_is_applied_with_its_warnings(http: Http) -> None:
    response = await http.post("/api/v1/apply", data=MANIFEST)
    notice, _, done = await lines(response)
    assert notice == {"kind": "notice", "message": "metadata.namespace has no effect here"}
    assert done["service"]["latest_ready"] == "hello-00001"


async def test_a_manifest_may_be_json(http: Http) -> None:
    node = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": {"template": {"spec": {"containers": [{"image": "nginx"}]}}},
    }
    assert (await lines(await http.post("/api/v1/apply", json=node)))[-1]["kind"] == "done"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"a: b: c", "line 1, column 5: not YAML: mapping values are not allowed here"),
        (b"\xff", "The manifest is not UTF-8: invalid start byte."),
    ],
)
async def test_a_manifest_that_is_none_is_refused(http: Http, text: bytes, detail: str) -> None:
    found = await problem_of(await http.post("/api/v1/apply", data=text))
    assert (found["status"], found["detail"]) == (422, detail)


async def test_a_wrong_manifest_names_its_fields(http: Http, platform: MemoryPlatform) -> None:
    response = await http.post("/api/v1/apply", data=MANIFEST.replace("nginx", "'a b'"))
    [error] = (await problem_of(response))["errors"]
    assert error["path"] == "spec.template.spec.containers[0].image"
    assert not platform.known


async def test_a_client_that_leaves_cancels_its_deploy(
    http: Http, platform: MemoryPlatform
) -> None:
    response = await deploy(http, "slow")
    await response.content.readline()
    response.close()
    async with asyncio.timeout(5):
        while not platform.cancelled:  # noqa: ASYNC110  (the server notices when it notices)
            await asyncio.sleep(0.01)
    assert not platform.known


@pytest.mark.parametrize("what", ["", "/instances", "/events", "/explain", "/logs"])
async def test_a_service_that_is_not_there_is_a_404(http: Http, what: str) -> None:
    found = await problem_of(await http.get(f"/api/v1/services/none{what}"))
    assert (found["status"], found["detail"]) == (404, "There is no service 'none'.")


async def test_a_service_is_shown_and_deleted(http: Http) -> None:
    await (await deploy(http)).read()
    shown = await (await http.get("/api/v1/services/hello")).json()
    assert shown["revisions"][0]["template"]["container"]["image"] == "nginx"
    [instance] = await (await http.get("/api/v1/services/hello/instances")).json()
    assert (instance["state"], instance["in_flight"]) == ("ready", 3)
    assert (await http.delete("/api/v1/services/hello")).status == 204
    assert (await http.get("/api/v1/services/hello")).status == 404


async def test_traffic_is_set_or_refused(http: Http) -> None:
    await (await deploy(http)).read()
    await (await deploy(http)).read()
    url = "/api/v1/services/hello/traffic"
    half = [{"revision": "hello-00001", "percent": 50}, {"percent": 50}]
    shown = await (await http.put(url, json={"traffic": half})).json()
    assert [part["percent"] for part in shown["traffic"]] == [50, 50]
    assert (await http.put(url, json={"traffic": half[:1]})).status == 422
    unknown = [{"revision": "hello-00009"}]
    found = await problem_of(await http.put(url, json={"traffic": unknown}))
    assert found["errors"][0]["path"] == "traffic[0].revisionName"


async def test_the_last_lines_of_the_log_are_sent(http: Http) -> None:
    await (await deploy(http)).read()
    response = await http.get("/api/v1/services/hello/logs", params={"tail": "2"})
    assert [line["text"] for line in await lines(response)] == ["line 3", "line 4"]


@pytest.mark.parametrize("query", ["tail=-1", "tail=x", "follow=maybe", "tail=100001"])
async def test_a_wrong_query_is_refused(http: Http, query: str) -> None:
    await (await deploy(http)).read()
    found = await problem_of(await http.get(f"/api/v1/services/hello/logs?{query}"))
    assert (found["status"], found["errors"][0]["path"]) == (422, query.partition("=")[0])


async def test_a_bill_has_exact_amounts(http: Http, platform: MemoryPlatform) -> None:
    response = await http.get("/api/v1/bill", params={"service": "hello", "book": "cloudrun"})
    shown = await response.json()
    assert shown["usage"]["instance_seconds"] == "12.5"
    assert shown["books"][0]["lines"][0]["unit_price"] == "4E-7"
    assert platform.billed == [("hello", "cloudrun", None)]


async def test_since_is_a_duration(http: Http, platform: MemoryPlatform) -> None:
    assert (await http.get("/api/v1/bill", params={"since": "1h"})).status == 200
    [(service, book, since)] = platform.billed
    assert (service, book) == (None, None)
    assert since is not None
    assert (await http.get("/api/v1/bill", params={"since": "yesterday"})).status == 422


@pytest.mark.parametrize("wrong", [{"step": "0"}, {"rounding": "up"}, {"free_tier": "maybe"}])
async def test_a_bill_cut_in_a_wrong_way_is_refused(http: Http, wrong: dict[str, str]) -> None:
    response = await http.get("/api/v1/bill/shares", params={"book": "cloudrun", **wrong})
    assert response.status == 422
    assert next(iter(wrong)) in await response.text()


async def test_health_metrics_and_status_answer(http: Http) -> None:
    assert await (await http.get("/healthz")).text() == "ok\n"
    metrics = await http.get("/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert await metrics.read() == b"windlass_requests_total 1\n"
    assert (await (await http.get("/api/v1/status")).json())["runtime"] == "fake"
    assert len(await (await http.get("/api/v1/books")).json()) == 1


async def test_an_unknown_path_or_method_is_a_problem(http: Http) -> None:
    assert (await problem_of(await http.get("/api/v2")))["status"] == 404
    response = await http.put("/api/v1/bill")
    assert (await problem_of(response))["status"] == 405
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[x", "localhost."])
async def test_a_foreign_host_is_kept_out(http: Http, host: str) -> None:
    response = await http.get("/api/v1/services", headers={"Host": host})
    assert (await problem_of(response))["type"] == "urn:windlass:problem:foreign-host"


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8090", "192.0.2.7:8090"])
async def test_localhost_and_addresses_are_let_in(http: Http, host: str) -> None:
    assert (await http.get("/api/v1/services", headers={"Host": host})).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_another_site_is_kept_out(
    http: Http, platform: MemoryPlatform, origin: str
) -> None:
    response = await http.post("/api/v1/services", json=request(), headers={"Origin": origin})
    assert (await problem_of(response))["type"] == "urn:windlass:problem:foreign-origin"
    assert not platform.known


async def test_a_page_of_our_own_is_let_in(http: Http) -> None:
    origin = str(http.make_url("")).rstrip("/")
    assert (await http.get("/api/v1/services", headers={"Origin": origin})).status == 200


async def test_a_deploy_that_nobody_listens_to_any_more_is_closed_at_once() -> None:
    closed = asyncio.Event()

    async def steps() -> AsyncIterator[Progress]:
        try:
            yield Step("a")
            yield Step("b")
        finally:
            closed.set()

    events = lively(steps())
    assert await anext(events) == Step("a")
    await events.aclose()
    assert closed.is_set()


async def test_a_client_that_leaves_in_the_midst_of_a_stream_is_no_fault() -> None:
    writer = create_autospec(AbstractStreamWriter, instance=True)
    writer.write.side_effect = ClientConnectionResetError("Cannot write to closing transport")
    closed = asyncio.Event()

    async def steps() -> AsyncGenerator[Step]:
        try:
            yield Step("a")
            yield Step("b")
        finally:
            closed.set()

    await stream(make_mocked_request("GET", "/", writer=writer), steps())
    writer.write.assert_awaited_once()
    assert closed.is_set()


async def test_a_long_step_is_heard_of() -> None:
    released = asyncio.Event()

    async def slow() -> AsyncIterator[Progress]:
        yield Step("a")
        await released.wait()
        yield Step("b")

    heard: list[Progress] = []
    async for event in lively(slow(), heartbeat=0.001):
        heard.append(event)
        if isinstance(event, Heartbeat):
            released.set()
    assert heard[0] == Step("a")
    assert heard[-1] == Step("b")
    assert Heartbeat() in heard
