"""Events: in words, in the log, and kept with the service they happened to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from windlass.billing.rows import Gap
from windlass.deploy.events import Events
from windlass.model.instance import Instance, State
from windlass.store.platform import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = 1_000_000_000
STARTING = Instance(
    id="shop-00001-a", revision="shop-00001", service="shop", started=0, reason="2 requests wait"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "platform.db")
    yield store
    store.close()


def kept(store: Store) -> list[tuple[str, str, str]]:
    return [(event.kind, event.level, event.message) for event in store.events("shop")]


def test_an_instances_states_are_told_with_what_matters_in_each(store: Store) -> None:
    events = Events(store)
    events.changed(STARTING)
    events.changed(msgspec.structs.replace(STARTING, state=State.READY, ready=1_500_000_000))
    events.changed(msgspec.structs.replace(STARTING, state=State.FAILED, reason="no port"))
    events.changed(msgspec.structs.replace(STARTING, state=State.STOPPED))
    assert kept(store) == [
        ("InstanceStarting", "info", "shop-00001-a is starting: 2 requests wait"),
        ("InstanceReady", "info", "shop-00001-a is ready after 1.50 s"),
        ("InstanceFailed", "warning", "shop-00001-a is failed: no port"),
        ("InstanceStopped", "info", "shop-00001-a is stopped"),
    ]


def test_an_instance_that_gets_no_requests_is_told_and_when_it_does_again(store: Store) -> None:
    events = Events(store)
    events.withheld(STARTING, "status 500")
    events.withheld(STARTING, "")
    assert kept(store) == [
        ("InstanceUnready", "warning", "shop-00001-a gets no requests: status 500"),
        ("InstanceReadyAgain", "info", "shop-00001-a gets requests"),
    ]


def test_one_that_vanished_is_told_with_when_it_was_last_known_to_live(store: Store) -> None:
    Events(store).vanished("shop", "shop-00001", "shop-00001-a", 3600 * SECOND + SECOND // 4)
    assert kept(store) == [
        (
            "InstanceVanished",
            "warning",
            "shop-00001-a ended while the platform was away: nobody knows how; it is billed up to "
            "01:00:00.250000 UTC, when it was last known to live",
        )
    ]


def test_a_lost_worker_is_logged_with_what_nobody_knows_of_it(store: Store) -> None:
    with capture_logs() as lines:
        Events(store).worker_lost("worker-1", Gap("worker-1", 0, SECOND))
        Events(store).worker_lost("worker-2", None)
    assert [(line["kind"], line["event"]) for line in lines] == [
        (
            "WorkerLost",
            "router worker-1 ended and is replaced; what it did from 00:00:00.000000 to "
            "00:00:01.000000 UTC is not counted",
        ),
        ("WorkerLost", "router worker-2 ended and is replaced"),
    ]


def test_what_cannot_be_kept_is_logged_all_the_same(store: Store, tmp_path: Path) -> None:
    (tmp_path / "platform.db").unlink()
    store.close()
    store = Store(tmp_path / "platform.db")
    store._database.execute("DROP TABLE events")
    with capture_logs() as lines:
        Events(store).tell("Deployed", service="shop", message="shop-00001 is ready")
    assert [line["event"] for line in lines] == ["shop-00001 is ready", "event is not kept"]
    store.close()
