"""The store: what was saved is there after a restart, whole or not at all."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec
import pytest

from windlass.model.service import Container, Mode, Probe, Revision, Service, Target, Template
from windlass.store import platform
from windlass.store.platform import Event, Store, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "platform.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def _service(name: str = "shop") -> Service:
    traffic = (Target(revision=f"{name}-00001", percent=90, tag="old"), Target(percent=10))
    return Service(name=name, created=1.5, labels=(("team", "a"),), traffic=traffic, generation=2)


def _revision(number: int, service: str = "shop") -> Revision:
    container = Container(
        image="shop:1",
        env=(("KEY", "wörld"),),
        startup_probe=Probe(kind="http", headers=(("A", "b"),)),
    )
    template = Template(container=container, mode=Mode.LAMBDA)
    name = f"{service}-{number:05}"
    return Revision(name=name, service=service, number=number, created=2.5, template=template)


def test_services_and_revisions_come_back_as_they_were(store: Store, path: Path) -> None:
    store.save(_service(), _revision(1))
    store.save(_service(), _revision(2))
    store.save(_service("other"), _revision(1, "other"))
    again = Store(path)
    assert again.services() == [_service("other"), _service()]
    assert again.revisions("shop") == [_revision(1), _revision(2)]
    assert len(again.revisions()) == 3
    again.close()


def test_a_deleted_service_leaves_only_its_events(store: Store) -> None:
    store.save(_service(), _revision(1))
    store.add_event(time=1.0, kind="Deployed", message="it works", service="shop")
    store.delete_service("shop")
    assert store.services() == []
    assert store.revisions() == []
    assert store.events("shop") == [
        Event(time=1.0, kind="Deployed", message="it works", service="shop")
    ]


def test_only_the_last_events_of_each_service_are_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "EVENTS_KEPT", 3)
    store.add_event(time=0.0, kind="Deployed", message="rarely", service="quiet")
    for number in range(199):
        store.add_event(time=number, kind="Tick", message=str(number), service="busy")
    assert [event.message for event in store.events("busy", last=10)] == ["196", "197", "198"]
    assert [event.message for event in store.events("busy", last=1)] == ["198"]
    assert len(store.events("quiet")) == 1


def test_a_change_that_cannot_be_written_changes_nothing(store: Store, path: Path) -> None:
    store.save(_service())
    database = sqlite3.connect(path)
    database.execute("DROP TABLE revisions")
    database.commit()
    database.close()
    changed = Service(name="shop", created=9.0)
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        store.save(changed, _revision(1))
    assert store.services() == [_service()]


def test_a_store_of_an_earlier_version_is_brought_up_to_date(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(_service())
    more = (*platform.MIGRATIONS, "ALTER TABLE services ADD COLUMN note TEXT DEFAULT ''")
    monkeypatch.setattr(platform, "MIGRATIONS", more)
    again = Store(path)
    assert again.services() == [_service()]
    again.close()
    database = sqlite3.connect(path)
    assert database.execute("SELECT note FROM services").fetchall() == [("",)]
    assert database.execute("PRAGMA user_version").fetchall() == [(len(more),)]
    database.close()


def test_a_revision_of_an_earlier_windlass_has_no_digest(store: Store, path: Path) -> None:
    store.save(_service(), msgspec.structs.replace(_revision(1), image_digest="sha256:1"))
    assert store.revisions()[0].image_digest == "sha256:1"
    database = sqlite3.connect(path)
    database.execute("UPDATE revisions SET value = json_remove(value, '$.image_digest')")
    database.commit()
    database.close()
    assert store.revisions() == [_revision(1)]


def test_a_store_of_a_newer_version_is_left_alone(path: Path) -> None:
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreUnavailable, match="version 99"):
        Store(path)


def test_what_is_no_database_is_said_to_be_none(path: Path) -> None:
    path.write_text("a letter" * 1000)
    with pytest.raises(StoreUnavailable, match=r"platform\.db cannot be opened"):
        Store(path)
