"""The metering pump: what must be in the ledger before the next flush is due."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.deploy.shop import REVISION

from windlass.billing.ledger import Ledger
from windlass.billing.meter import Meter
from windlass.billing.running import RunningUsage
from windlass.deploy import metering as pump
from windlass.deploy.metering import Metering
from windlass.model.instance import Instance, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BORN = Instance(id="shop-00001-a", revision="shop-00001", service="shop", started=1)
READY = msgspec.structs.replace(BORN, state=State.READY, ready=2)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Path(":memory:"), boot="one")


def idle(ledger: Ledger) -> Metering:
    revisions = {REVISION.name: REVISION}
    meter = Meter(revisions, 1, 0)
    return Metering(meter, ledger, RunningUsage(revisions), lambda worker, sequence: None)


@pytest.fixture
async def metering(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Metering]:
    """A pump whose next flush is an hour away."""
    monkeypatch.setattr(pump, "INTERVAL", 3600.0)
    metering = idle(ledger)
    running = asyncio.create_task(metering.run())
    yield metering
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (a thread writes the ledger)
            await asyncio.sleep(0.01)


def ready_since(ledger: Ledger) -> dict[str, int | None]:
    saved = ledger.load()
    return {} if saved is None else {state.id: state.life.ready for state in saved.states}


async def test_who_is_born_and_who_serves_is_written_at_once(
    metering: Metering, ledger: Ledger
) -> None:
    metering.changed(BORN)
    await until(lambda: ready_since(ledger) == {BORN.id: None})
    metering.changed(READY)
    await until(lambda: ready_since(ledger) == {BORN.id: 2})


async def test_from_when_on_a_killed_worker_was_not_heard_of_is_written_at_once(
    metering: Metering, ledger: Ledger
) -> None:
    metering.meter.expect("worker-1.a", 1)
    assert metering.worker_gone("worker-1.a", lost=True)
    await until(lambda: len(ledger.usage(0, 4e9).gaps) == 1)


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_when_told_to_while_something_urgent_comes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(pump, "INTERVAL", 3600.0)
    monkeypatch.setattr(pump, "SOON", 0.0)
    metering = idle(ledger)
    running = asyncio.create_task(metering.run())
    await asyncio.sleep(0.01)
    metering.changed(BORN)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()


async def test_that_a_worker_is_about_to_serve_is_written_at_once(
    metering: Metering, ledger: Ledger
) -> None:
    metering.expect("worker-1.a")

    def is_known() -> bool:
        saved = ledger.load()
        return saved is not None and saved.marks.keys() == {"worker-1.a"}

    await until(is_known)
