"""`windlass top`: what it prints, what fits on a terminal, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from windlass.deploy.api.schema import (
    CostView,
    DecisionView,
    DeployRequest,
    InstanceView,
    NowView,
    OverviewView,
)
from windlass.deploy.cli.top_view import Seen, draw
from windlass.model.instance import State
from windlass.model.service import Container, Mode, Template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.test_utils import TestServer
    from click.testing import Result

    from windlass.deploy.api.client import Client

    Run = Callable[..., Awaitable[Result]]


def now(name: str, rate: float = 5.0, cost: str = "0.01", **facts: Any) -> NowView:
    return NowView(
        service=OverviewView(
            name=name,
            url=f"http://{name}.localhost",
            ready=True,
            mode=Mode.CLOUDRUN,
            instances={State.READY: 2, State.STARTING: 1},
            **facts,
        ),
        requests_per_second=rate,
        p50=0.12,
        p99=1.5,
        cost=CostView(
            service=name,
            requests=9,
            book="Cloud Run",
            total=Decimal(cost),
            other_book="Lambda",
            other_total=Decimal(cost) * 8,
        ),
    )


def drawn(seen: Seen, width: int = 120, height: int = 40, notice: str = "") -> str:
    out = StringIO()
    Console(file=out, width=width, height=height).print(draw(seen, width, height, notice))
    return out.getvalue()


def seen(*services: NowView, **more: Any) -> Seen:
    return Seen(time=1_700_000_000.0, server="http://127.0.0.1:8090", services=services, **more)


def test_a_service_shows_what_it_does_and_costs_beside_the_other_mode() -> None:
    row = next(
        line.split()
        for line in drawn(seen(now("cart", in_flight=7, queued=3, errors=2))).splitlines()
        if line.startswith("cart")
    )
    expected = "cart Cloud Run 3 +1 7 3 5.0 120 ms 1.50 s 2 $0.0100 $0.0800 8.0\u00d7"
    assert row == expected.split()


def test_the_busiest_come_first_and_all_are_summed_up() -> None:
    text = drawn(seen(now("a", 1.0, "0.5"), now("b", 30.0, "0.25")))
    assert text.index("\nb ") < text.index("\na ")
    last = next(line for line in text.splitlines() if line.startswith("all 2"))
    assert last.split() == ["all", "2", "6", "0", "0", "31", "0", "$0.7500", "$6.0000", "8.0\u00d7"]


def test_where_there_is_no_room_it_says_how_many_are_left_out() -> None:
    services = [now(f"service-{number}", float(number)) for number in range(50)]
    text = drawn(seen(*services), height=12)
    assert "service-49" in text
    assert "and 44 more" in text


@settings(deadline=None, max_examples=60)
@given(
    st.integers(80, 200),
    st.integers(12, 60),
    st.integers(0, 80),
    st.booleans(),
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=49),
)
def test_it_is_never_larger_than_the_terminal(
    width: int, height: int, number: int, is_one: bool, name: str
) -> None:
    instances = [
        InstanceView(
            id=f"{name}-00001-{each:05}",
            service=name,
            revision=f"{name}-00001",
            state=State.READY,
            started=1_600_000_000.0,
            reason="many requests wait " * 9,
        )
        for each in range(number)
    ]
    decision = DecisionView(time=1.0, revision=name, desired=3, reason="because " * 40)
    services = [now(f"{name}{each}", 1234567.0, "12345.678901") for each in range(number)]
    found = seen(*services[:1], instances=instances, decisions=[decision] * 9, name=name)
    lines = drawn(found if is_one else seen(*services), width, height).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_without_a_service_it_says_how_to_have_one_and_without_a_platform_what_to_do() -> None:
    assert "windlass deploy NAME" in drawn(seen())
    assert "trying again" in drawn(seen(), notice="No answer, trying again.")


async def _deployed(client: Client, name: str) -> None:
    request = DeployRequest(name=name, template=Template(container=Container(image="nginx")))
    async for _ in client.deploy(request):
        pass


async def test_piped_it_is_printed_once(client: Client, run: Run) -> None:
    await _deployed(client, "cart")
    result = await run("top")
    assert result.exit_code == 0
    assert "cart" in result.output
    assert "q or Ctrl-C" not in result.output


async def test_json_has_what_the_columns_are_made_of(client: Client, run: Run) -> None:
    await _deployed(client, "cart")
    (found,) = json.loads((await run("top", "--json")).output)
    assert found["service"]["name"] == "cart"
    assert found.keys() == {"service", "requests_per_second", "p50", "p99", "cost"}
    (same,) = json.loads((await run("top", "cart", "--json")).output)
    assert same["service"]["name"] == "cart"


async def test_a_service_that_is_not_there_and_a_platform_that_is_not_there(run: Run) -> None:
    result = await run("top", "nothing")
    assert result.exit_code == 1
    assert "no service" in result.output
    result = await run("top", "--server", "http://127.0.0.1:1")
    assert result.exit_code == 3
    assert "Start one with `windlass up`" in result.output


@pytest.mark.slow
async def test_on_a_terminal_it_goes_on_until_q(client: Client, server: TestServer) -> None:
    await _deployed(client, "cart")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "windlass.deploy.cli", "top"]
    environment = {**os.environ, "WINDLASS_SERVER": str(server.make_url("")), "TERM": "xterm"}
    process = await asyncio.create_subprocess_exec(
        *words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    told = await asyncio.to_thread(_until, ours, b"cart")
    assert process.returncode is None
    os.write(ours, b"q")
    assert await asyncio.wait_for(process.wait(), 20) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in told  # a screen of its own, so that what was there comes back


def _until(descriptor: int, said: bytes) -> bytes:
    told = b""
    while said not in told:
        told += os.read(descriptor, 65536)
    return told
