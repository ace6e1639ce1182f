"""The routing table that workers get, from what is deployed: values in, values out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.deploy.rollout import splits
from windlass.model.service import Limits, Mode
from windlass.router.link import RevisionRoute, Routes, ServiceRoute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from windlass.model.service import Revision, Service

SHORTEST_WAIT = 10.0  # seconds a request may wait in the queue at least, as on Cloud Run
START_FACTOR = 3.5  # and at least so many times the average start, as on Cloud Run
MAX_BODY = 32 * 1024**2  # bytes of a request to an HTTP/1.1 instance, as on Cloud Run
SHADOW_CONCURRENCY = (
    Limits().concurrency
)  # at which lambda mode's requests would have shared instances


def routes(
    services: Iterable[Service],
    revisions: Iterable[Revision],
    average_start: Callable[[str], float | None],
    refusal: Callable[[str], str],
    domains: tuple[str, ...],
    default_service: str,
    workers: int,
) -> Routes:
    """Return the table of all services and of all revisions that may have instances.

    `average_start` says how many seconds a revision's instances take to start, None: not known;
    `refusal` why a service may have no instance now, empty: it may; `workers` share the traffic.
    """
    return Routes(
        services=tuple(ServiceRoute(name=s.name, splits=splits(s)) for s in services),
        revisions=tuple(
            _route(revision, average_start(revision.name), refusal(revision.service))
            for revision in revisions
        ),
        domains=domains,
        default_service=default_service,
        workers=workers,
    )


def _route(revision: Revision, average_start: float | None, refusal: str) -> RevisionRoute:
    template = revision.template
    limits, scaling = template.limits, template.scaling
    shared = template.mode is Mode.CLOUDRUN
    aim = min(scaling.target or limits.concurrency, limits.concurrency)
    return RevisionRoute(
        name=revision.name,
        service=revision.service,
        mode=template.mode,
        concurrency=limits.concurrency if shared else 1,
        target=max(1, int(aim)) if shared else 1,
        max_instances=0 if refusal else scaling.max_instances,
        refusal=refusal,
        shadow_concurrency=limits.concurrency if shared else SHADOW_CONCURRENCY,
        timeout=limits.timeout,
        queue_wait=max(SHORTEST_WAIT, START_FACTOR * (average_start or 0.0)),
        protocol=template.container.protocol,
        # A stream of gRPC has no end that could be measured; Cloud Run has no limit there either.
        max_body=0 if template.container.protocol == "h2c" else MAX_BODY,
        session_affinity=template.session_affinity,
    )
