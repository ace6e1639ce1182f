"""How a service's revisions and traffic change: values in, values out.

What serves goes on serving until the new revision is ready, and for good if it never is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from windlass.deploy.violation import Violation
from windlass.model.service import Revision, Service, Target
from windlass.router.link import Split

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from windlass.model.service import Template


RETIRED_KEPT = 20  # unreachable revisions of a service to go back to, as Knative keeps


class NothingToKeep(Exception):
    """A first deploy without traffic: there is nothing yet that could go on serving."""

    def __init__(self, service: str) -> None:
        super().__init__(
            f"{service} has no revision that serves yet, so --no-traffic would leave it with none; "
            "deploy it once without --no-traffic"
        )


def revision_name(service: str, number: int) -> str:
    """Return the name of a service's revision: NAME-00001."""
    return f"{service}-{number:05d}"


def next_revision(known: Service | None, name: str, template: Template, now: float) -> Revision:
    """Return the revision that a deploy makes; `now` in Unix seconds."""
    number = known.generation + 1 if known else 1
    return Revision(
        name=revision_name(name, number),
        service=name,
        number=number,
        created=now,
        template=template,
    )


def succeeded(
    known: Service | None,
    revision: Revision,
    labels: tuple[tuple[str, str], ...],
    traffic: Sequence[Target] | None = None,
) -> Service:
    """Return the service now that the revision is ready.

    `traffic` None keeps the split, in which `latest` now means this revision. As with Cloud Run,
    a split that names revisions only stays as it is.
    """
    service = known or Service(name=revision.service, created=revision.created)
    return msgspec.structs.replace(
        service,
        labels=labels,
        traffic=service.traffic if traffic is None else tuple(traffic),
        latest_created=revision.name,
        latest_ready=revision.name,
        generation=max(service.generation, revision.number),
    )


def failed(known: Service, revision: Revision) -> Service:
    """Return the service after a revision that never was ready: as before, its number used up."""
    return msgspec.structs.replace(known, generation=max(known.generation, revision.number))


def pinned(known: Service | None, name: str) -> tuple[Target, ...]:
    """Return the traffic of today with `latest` replaced by the revision it means today.

    Raises:
        NothingToKeep: no revision serves yet.
    """
    if known is None or not known.latest_ready:
        raise NothingToKeep(name)
    return tuple(
        msgspec.structs.replace(target, revision=target.revision or known.latest_ready)
        for target in known.traffic
    )


def splits(service: Service) -> tuple[Split, ...]:
    """Return the split for the router, `latest` resolved; empty until a revision is ready."""
    return tuple(
        Split(revision=revision, percent=target.percent, tag=target.tag)
        for target in service.traffic
        if (revision := target.revision or service.latest_ready)
    )


def reachable(service: Service) -> frozenset[str]:
    """Return the revisions that a request can get to: by traffic or by tag."""
    return frozenset(part.revision for part in splits(service) if part.percent or part.tag)


def retired(service: Service, revisions: Sequence[Revision]) -> list[Revision]:
    """Return the revisions that may be forgotten: unreachable, and older than those kept.

    `revisions`: all of the service, the newest first.
    """
    within_reach = reachable(service)
    idle = [revision for revision in revisions if revision.name not in within_reach]
    return idle[RETIRED_KEPT:]


def unknown_revisions(
    traffic: Sequence[Target], ready: Collection[str], path: str
) -> list[Violation]:
    """Return the targets that name a revision which is not there or not ready."""
    allowed = f"one of {', '.join(sorted(ready))}" if ready else "latest, as no revision is ready"
    return [
        Violation(path=f"{path}[{index}].revisionName", value=target.revision, allowed=allowed)
        for index, target in enumerate(traffic)
        if target.revision and target.revision not in ready
    ]
