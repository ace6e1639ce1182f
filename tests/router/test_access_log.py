"""A line for each request, written off its path."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

from windlass.router import access_log
from windlass.router.access_log import AccessLog, Entry, common_line, json_line

if TYPE_CHECKING:
    import pytest
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ENTRY = Entry(
    ended=2_500_000,
    began=1_000_000,
    queued=500_000,
    client=b"10.0.0.1",
    method=b"GET",
    target=b'/a"b\\',
    host=b"hello.localhost",
    status=200,
    revision="hello-00001",
    instance="hello-00001-a",
    own=b"X-Request-Id: abc\r\ntraceparent: x\r\n",
)


def test_a_line_of_json() -> None:
    assert json.loads(json_line(ENTRY, 1_700_000_000)) == {
        "time": "2023-11-14T22:13:20.002+00:00",
        "client": "10.0.0.1",
        "method": "GET",
        "host": "hello.localhost",
        "path": '/a"b\\',
        "status": 200,
        "duration_ms": 1.5,
        "queue_ms": 0.5,
        "revision": "hello-00001",
        "instance": "hello-00001-a",
        "request_id": "abc",
    }


def test_a_line_of_the_common_format() -> None:
    expected = r'10.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /a\"b\\ HTTP" 200 -'
    assert common_line(ENTRY, 1_700_000_000) == expected + "\n"


async def test_each_request_has_its_line(rig: Rig) -> None:
    stream = io.StringIO()
    rig.worker.dispatch.access_log = AccessLog("json", stream)
    rig.origin.answers("/", OK)
    client = await rig.client()
    for n in range(3):
        client.get(f"/?{n}")
        await client.response()
    await rig.worker.dispatch.access_log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["path"] for line in lines] == ["/?0", "/?1", "/?2"]
    assert {(line["status"], line["instance"]) for line in lines} == {(200, "hello-00001-a")}
    sent = re.findall(rb"X-Request-Id: (\w+)", b"".join(rig.origin.heads))
    assert [line["request_id"] for line in lines] == [each.decode() for each in sent]


async def test_what_is_too_much_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_ENTRIES", 2)
    stream = io.StringIO()
    lines = AccessLog("common", stream)
    for _ in range(5):
        lines.add(ENTRY)
    await lines.close()
    assert stream.getvalue().count("\n") == 2


async def test_a_stream_that_is_closed_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    lines = AccessLog("common", stream)
    lines.add(ENTRY)
    await lines.close()
