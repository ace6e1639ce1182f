"""What the API shows of services, revisions and instances, from what the platform holds."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from windlass.deploy.api.schema import InstanceView, RevisionView, ServiceView, TrafficView
from windlass.deploy.rollout import splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from windlass.deploy.options import ListenAddress
    from windlass.model.instance import Instance, State
    from windlass.model.service import Revision, Service


def service_view(
    service: Service,
    revisions: Sequence[Revision],
    instances: Iterable[Instance],
    domain: str,
    http: ListenAddress,
) -> ServiceView:
    """Return a service with its revisions, the newest first, and who gets its traffic."""
    states: dict[str, Counter[State]] = {}
    for instance in instances:
        states.setdefault(instance.revision, Counter())[instance.state] += 1
    views = tuple(
        RevisionView(
            name=revision.name,
            service=revision.service,
            created=revision.created,
            ready=True,  # one that does not come up is forgotten
            template=revision.template,
            image_digest=revision.image_digest,
            instances=dict(states.get(revision.name, {})),
        )
        for revision in revisions
    )
    traffic = tuple(
        TrafficView(
            revision=split.revision,
            percent=split.percent,
            tag=split.tag,
            latest=target.revision is None,
            url=url(f"{split.tag}---{service.name}", domain, http) if split.tag else "",
        )
        for split, target in zip(splits(service), service.traffic, strict=True)
    )
    return ServiceView(
        name=service.name,
        url=url(service.name, domain, http),
        created=service.created,
        ready=bool(service.latest_ready),
        labels=dict(service.labels),
        latest_created=service.latest_created,
        latest_ready=service.latest_ready,
        traffic=traffic,
        revisions=views,
    )


def instance_view(
    instance: Instance, in_flight: int, requests: int, *, frozen: bool
) -> InstanceView:
    """Return an instance, its moments as Unix seconds by today's wall clock."""
    offset = time.time_ns() - time.monotonic_ns()

    def wall(moment: int | None) -> float | None:
        return None if moment is None else (moment + offset) / 1e9

    address = instance.address
    return InstanceView(
        id=instance.id,
        service=instance.service,
        revision=instance.revision,
        state=instance.state,
        frozen=frozen,
        address=f"{address.host}:{address.port}" if address else "",
        in_flight=in_flight,
        requests=requests,
        started=(instance.started + offset) / 1e9,
        launched=wall(instance.launched),
        deaf=wall(instance.deaf),
        ready=wall(instance.ready),
        ended=wall(instance.ended),
        reason=instance.reason,
        exit=instance.exit,
    )


def url(name: str, domain: str, http: ListenAddress) -> str:
    """Return where a service is called."""
    return f"http://{name}.{domain}" + (f":{http.port}" if http.port != 80 else "")
