"""A platform of the test's own, on either runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import Platform, start_platform, stop
from tests.platform.oci.containers import require_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def process_platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform on the process runtime."""
    platform = await start_platform(tmp_path, "--runtime", "process")
    yield platform
    await stop(platform)


@pytest.fixture
async def oci_platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform on the oci runtime."""
    require_engine()
    platform = await start_platform(tmp_path, "--runtime", "oci")
    yield platform
    await stop(platform)


@pytest.fixture
async def docker_platform(engine: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform on Docker."""
    platform = await start_platform(tmp_path, "--runtime", "docker")
    yield platform
    await stop(platform)
