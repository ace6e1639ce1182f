from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from windlass.bench.compare import Endpoint, Observed, Settings, compare
from windlass.bench.report import as_json
from windlass.bench.show import showing, summary
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from windlass.bench.compare import Comparison, Progress

    Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
    Serve = Callable[[Answer], AbstractAsyncContextManager[int]]

SETTINGS = Settings(image="hello:1", rate=100, duration=0.2, ramp=0)
METERED = {
    Mode.CLOUDRUN: Observed(
        cold_starts=1,
        peak_instances=1,
        billed_instance_seconds=Decimal("0.5"),
        cost=Decimal("0.000020"),
        request_fees=Decimal("0.000008"),
        instances_now=1,
    ),
    Mode.LAMBDA: Observed(
        cold_starts=7,
        peak_instances=7,
        billed_instance_seconds=Decimal("4"),
        cost=Decimal("0.000180"),
        instances_now=7,
    ),
}


class FakePlatform:
    """Serves every service on one port; the meter shows its last word at the third look."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.services: dict[str, Mode] = {}
        self.calls: list[str] = []
        self.looks = 0
        self.deployed = asyncio.Event()
        self.meter_fault: Exception | None = None

    async def deploy(self, name: str, settings: Settings, mode: Mode) -> Endpoint:
        self.calls.append(f"deploy {mode}")
        self.services[name] = mode
        self.looks = 0
        self.deployed.set()
        return Endpoint("127.0.0.1", self.port, f"{name}.localhost")

    async def observe(self, name: str) -> Observed:
        if self.meter_fault:
            raise self.meter_fault
        self.looks += 1
        metered = METERED[self.services[name]]
        return metered if self.looks > 2 else replace(metered, cost=Decimal(0))

    async def delete(self, name: str) -> None:
        self.calls.append(f"delete {self.services.pop(name)}")


@pytest.fixture
async def target(serve: Serve) -> AsyncIterator[FakePlatform]:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serve(answer) as port:
        yield FakePlatform(port)


def ignore(progress: Progress) -> None:
    """Show nothing."""


async def test_each_mode_is_deployed_loaded_metered_and_deleted_in_turn(
    target: FakePlatform,
) -> None:
    comparison = await compare(SETTINGS, target, ignore, settle_interval=0)
    assert target.calls == [
        "deploy cloudrun",
        "delete cloudrun",
        "deploy lambda",
        "delete lambda",
    ]
    assert comparison.cloudrun.requests == comparison.lambda_.requests == 20
    assert comparison.cloudrun.errors == comparison.lambda_.errors == 0
    assert comparison.cloudrun.observed == METERED[Mode.CLOUDRUN]  # and not an early look
    assert comparison.lambda_.observed == METERED[Mode.LAMBDA]
    last = comparison.lambda_.course[-1]
    assert (last.instances, last.in_flight) == (7, 0)
    assert len(comparison.lambda_.load.spans) == 2 * 20


async def test_the_json_has_stable_keys_and_the_ratio_of_the_costs(target: FakePlatform) -> None:
    comparison = await compare(SETTINGS, target, ignore, settle_interval=0)
    document = json.loads(json.dumps(as_json(comparison)))
    keys = {
        *("requests", "errors", "p50_ms", "p95_ms", "p99_ms", "max_ms", "cold_starts"),
        *("peak_instances", "billed_instance_seconds", "cost_usd", "cost_per_million_usd"),
    }
    assert keys <= document["modes"]["cloudrun"].keys()
    assert keys <= document["modes"]["lambda"].keys()
    assert {"modes", "cost_ratio", "settings", "closed_form", "factors"} <= document.keys()
    assert document["cost_ratio"] == pytest.approx(9)
    assert document["modes"]["lambda"]["cost_per_million_usd"] == pytest.approx(9)
    factors = document["factors"]
    assert math.isclose(factors["sharing"] * factors["price"], 9)


@pytest.mark.slow
async def test_another_endpoint_gets_the_same_load_and_shows_latency_only(
    target: FakePlatform,
) -> None:
    settings = replace(SETTINGS, against=f"http://127.0.0.1:{target.port}/other")
    comparison = await compare(settings, target, ignore, settle_interval=0)
    document = as_json(comparison)
    against = document["against"]
    assert isinstance(against, dict)
    assert against["requests"] == 20
    assert "cost_usd" not in against
    assert f"http://127.0.0.1:{target.port}/other" in shown(200, comparison)


async def test_what_was_deployed_is_deleted_when_the_meter_fails(target: FakePlatform) -> None:
    target.meter_fault = RuntimeError("no meter")
    with pytest.raises(RuntimeError, match="no meter"):
        await compare(SETTINGS, target, ignore, settle_interval=0)
    assert target.calls == ["deploy cloudrun", "delete cloudrun"]


async def test_what_was_deployed_is_deleted_when_the_comparison_is_cancelled(
    target: FakePlatform,
) -> None:
    task = asyncio.create_task(compare(SETTINGS, target, ignore, settle_interval=60))
    await target.deployed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert target.calls == ["deploy cloudrun", "delete cloudrun"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (replace(SETTINGS, rate=0), "rate"),
        (replace(SETTINGS, clients=0), "clients"),
        (replace(SETTINGS, ramp=1), "ramp"),
        (replace(SETTINGS, image=""), "image or a command"),
        (replace(SETTINGS, exec=("x",)), "image or a command"),
        (replace(SETTINGS, path="x"), "path"),
        (replace(SETTINGS, path="/a b"), "path"),
        (replace(SETTINGS, path="/a\r\nX: y"), "path"),
        (replace(SETTINGS, against="example"), "against"),
        (replace(SETTINGS, against="http://host:port"), "against"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused_before_anything_is_deployed(
    settings: Settings, named: str
) -> None:
    target = FakePlatform(1)
    with pytest.raises(ValueError, match=named):
        await compare(settings, target, ignore)
    assert target.calls == []


@pytest.mark.slow
async def test_without_a_terminal_each_stage_is_a_line(target: FakePlatform) -> None:
    out = StringIO()
    with showing(Console(file=out, width=40)) as progress:
        await compare(replace(SETTINGS, duration=0.6), target, progress, settle_interval=0)
    lines = out.getvalue().splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["cloudrun", "deploying"],
        ["cloudrun", "under"],
        ["cloudrun", "waiting"],
        ["cloudrun", "deleting"],
    ]
    assert len(lines) == 8
    assert "requests/s" in lines[1]
    assert "1 instance" in lines[1]


async def test_the_summary_shows_both_columns_the_ratio_and_its_reason(
    target: FakePlatform,
) -> None:
    comparison = await compare(SETTINGS, target, ignore, settle_interval=0)
    text = shown(120, comparison)
    assert "hello:1 /: 100 requests/s for 0.2 s" in text
    assert "costs 9.0 times as much" in text
    assert "1769 MB" in text


def shown(width: int, comparison: Comparison) -> str:
    out = StringIO()
    Console(file=out, width=width).print(summary(comparison))
    return out.getvalue()
