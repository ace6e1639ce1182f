"""What is forgotten with a service: one that is deleted, and one that never came up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.deploy.test_pinned_images import Audience, begun, deploy

from windlass.deploy.api.platform import Refused
from windlass.runtime.fake import Behaviour, FakeRuntime

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_service_is_forgotten_when_it_is_deleted(tmp_path: Path) -> None:
    audience, runtime = Audience(), FakeRuntime()
    async with begun(tmp_path, runtime, audience) as (control, autoscaler):
        await deploy(control)
        await deploy(control)
        assert audience.forgotten == []
        deleting = asyncio.create_task(control.delete("hello"))
        async with asyncio.timeout(20):
            while not deleting.done():  # workers say so when an instance has nothing in flight
                for start in runtime.starts:
                    autoscaler.drained(start.instance)
                await asyncio.sleep(0.01)
        await deleting
    assert sorted(audience.forgotten) == ["hello", "hello-00001", "hello-00002"]


async def test_a_service_is_forgotten_that_never_came_up_but_not_for_a_later_revision(
    tmp_path: Path,
) -> None:
    audience = Audience()
    faults = ["no room", "", "no room"]
    runtime = FakeRuntime(lambda request: Behaviour(start_fault=faults.pop(0)))
    async with begun(tmp_path, runtime, audience) as (control, _):
        with pytest.raises(Refused):
            await deploy(control)
        assert audience.forgotten == ["hello-00001", "hello"]
        await deploy(control)
        with pytest.raises(Refused):
            await deploy(control)
        assert audience.forgotten[2:] == ["hello-00002"]
