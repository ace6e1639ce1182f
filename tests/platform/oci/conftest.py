"""What the oci runtime's tests share: an image made of busybox, and a driver that cleans up."""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import Rig, busybox_files, require_engine, write_layout

from windlass.model.service import Container
from windlass.runtime.oci import Oci

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference to a busybox image that serves /www on 8080 unless told otherwise."""
    require_engine()
    config: dict[str, object] = {
        "Entrypoint": ["/bin/busybox"],
        "Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"],
        "Env": ["PATH=/bin", "COLOR=blue", "PORT=1"],
        "WorkingDir": "/www",
    }
    return write_layout(tmp_path_factory.mktemp("image") / "layout", config, busybox_files())


@pytest.fixture
async def rig(tmp_path: Path, image: str) -> AsyncIterator[Rig]:
    """An open driver on an empty state; nothing of it is left afterwards."""
    driver = Oci(tmp_path, f"test-{token_hex(4)}", berths_ahead=1)
    await driver.open()
    await driver.prepare(Container(image=image))
    try:
        yield Rig(driver, image, tmp_path)
    finally:
        await asyncio.gather(*(driver.remove(name) for name in driver.instances()))
        await driver.close()
