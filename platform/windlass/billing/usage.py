"""What was metered in a stretch of time, summed: what bills are written from."""

from __future__ import annotations

import msgspec

from windlass.billing.rows import Amounts, Gap, RevisionAmounts
from windlass.model.service import Mode


class RevisionMonth(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar month of UTC of one revision, and what decides its price."""

    service: str
    revision: str
    month: str  # 2026-11
    mode: Mode
    milli_cpu: int
    memory: int  # bytes
    labels: tuple[tuple[str, str], ...] = ()


class InstanceUsage(RevisionMonth, frozen=True, kw_only=True):
    """What one instance did in one month."""

    instance: str
    amounts: Amounts


class RevisionUsage(RevisionMonth, frozen=True, kw_only=True):
    """What the requests of one revision took together in one month."""

    counts: RevisionAmounts


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What was metered from `since` to `until` (Unix seconds, whole minutes)."""

    since: int
    until: int
    instances: tuple[InstanceUsage, ...] = ()
    revisions: tuple[RevisionUsage, ...] = ()
    peak_instances: int = 0  # most that lived at once
    gaps: tuple[Gap, ...] = ()  # what is not counted, of all services

    def total(self) -> Amounts:
        """Return the sum over all instances."""
        return sum((usage.amounts for usage in self.instances), Amounts())

    @property
    def cold_starts(self) -> int:
        """Requests that waited until their instance had started, or came while there was none.

        One that got a slot which another gave back while an instance was started for it is none.
        """
        return sum(usage.counts.cold_starts for usage in self.revisions)


def joined(first: Usage, second: Usage) -> Usage:
    """Return the usage of two stretches that follow one another.

    How many instances lived at once is not known of both together.
    """
    instances: dict[tuple[str, str, str, str], InstanceUsage] = {}
    for used in (*first.instances, *second.instances):
        place = (used.service, used.revision, used.month, used.instance)
        known = instances.get(place)
        if known is not None:
            used = msgspec.structs.replace(used, amounts=known.amounts + used.amounts)
        instances[place] = used
    revisions: dict[tuple[str, str, str], RevisionUsage] = {}
    for counted in (*first.revisions, *second.revisions):
        of = (counted.service, counted.revision, counted.month)
        before = revisions.get(of)
        if before is not None:
            counted = msgspec.structs.replace(counted, counts=before.counts + counted.counts)
        revisions[of] = counted
    return Usage(
        since=first.since,
        until=second.until,
        instances=tuple(used for _, used in sorted(instances.items())),
        revisions=tuple(counted for _, counted in sorted(revisions.items())),
        gaps=tuple(dict.fromkeys((*first.gaps, *second.gaps))),
    )
