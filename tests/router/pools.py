"""A pool of one revision, as its tests need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.model.service import Mode
from windlass.router.link import RevisionRoute
from windlass.router.pool import Pool

if TYPE_CHECKING:
    from windlass.router.levels import Instance


def make_pool(
    mode: Mode = Mode.CLOUDRUN,
    *,
    concurrency: int = 2,
    target: int = 2,
    max_instances: int = 3,
    queue_wait: float = 10.0,
) -> Pool[Instance, str]:
    route = RevisionRoute(
        name="hello-00001",
        service="hello",
        mode=mode,
        concurrency=concurrency,
        target=target,
        max_instances=max_instances,
        shadow_concurrency=2,
        queue_wait=queue_wait,
    )
    return Pool(route, now=0)
