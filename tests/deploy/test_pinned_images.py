"""A revision keeps the image that its name meant, through later deployments and restarts."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.autoscaler.conftest import Recorder

from windlass.autoscaler.loop import Autoscaler, Settings
from windlass.deploy.api.schema import Done
from windlass.deploy.control import Control
from windlass.deploy.options import ListenAddress
from windlass.deploy.views import service_view
from windlass.model.service import Container, Revision, Service, Template
from windlass.runtime.fake import FakeRuntime
from windlass.store.platform import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from windlass.deploy.api.schema import ServiceView

TEMPLATE = Template(container=Container(image="hello"))


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


class Audience:
    """Remembers which services and revisions are no more."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def publish(self) -> None: ...

    def forget(self, service: str) -> None:
        self.forgotten.append(service)

    def forget_revision(self, revision: str) -> None:
        self.forgotten.append(revision)


@asynccontextmanager
async def begun(
    folder: Path, runtime: FakeRuntime, audience: Audience | None = None
) -> AsyncIterator[tuple[Control, Autoscaler]]:
    """A platform's control and autoscaler, with what an earlier one kept in the folder."""
    store = Store(folder / "platform.db")
    control = Control(store, runtime)

    def view(service: Service) -> ServiceView:
        address = ListenAddress("127.0.0.1", 80)
        return service_view(service, control.revisions_of(service.name), [], "localhost", address)

    autoscaler = Autoscaler(
        runtime, Recorder(), Settings(), clock=time.monotonic_ns, answers=runtime.answers
    )
    control.join(autoscaler, audience or Audience(), lambda *told, **more: None, view)
    control.load()
    running = asyncio.create_task(autoscaler.run())
    try:
        yield control, autoscaler
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await autoscaler.stop(0)
        store.close()


async def deploy(control: Control) -> ServiceView:
    steps = control.deploy("hello", TEMPLATE, labels={}, traffic=True, health_check=True)
    *_, last = [step async for step in steps]
    assert isinstance(last, Done)
    return last.service


async def test_a_revision_keeps_the_image_that_its_name_meant(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    async with begun(tmp_path, runtime) as (control, _):
        for digest in ("sha256:1", "sha256:2"):
            runtime.digests["hello"] = digest
            service = await deploy(control)
            assert runtime.starts[-1].image_digest == digest
        shown = [revision.image_digest for revision in service.revisions]
        assert shown == ["sha256:2", "sha256:1"]
        assert sorted(runtime.retained) == ["sha256:1", "sha256:2"]
    async with begun(tmp_path, runtime) as (_, autoscaler):
        await autoscaler.check("hello-00001")
        assert runtime.starts[-1].image_digest == "sha256:1"


async def test_a_revision_of_an_earlier_windlass_keeps_its_images_name(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    old = Revision(name="old-00001", service="old", number=1, created=1.0, template=TEMPLATE)
    store = Store(tmp_path / "platform.db")
    store.save(Service(name="old", created=1.0, latest_ready=old.name, generation=1), old)
    store.close()
    runtime.digests["hello"] = "sha256:2"
    async with begun(tmp_path, runtime) as (control, autoscaler):
        await deploy(control)
        await autoscaler.check(old.name)
        assert runtime.starts[-1].image_digest == ""
        assert sorted(runtime.retained) == ["hello", "sha256:2"]
