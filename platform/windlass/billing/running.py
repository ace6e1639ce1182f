"""What was used since the platform was started, summed in memory, for metrics that are read often.

The ledger has the same for any stretch of time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from windlass.billing.rows import Amounts, RevisionAmounts
from windlass.billing.usage import InstanceUsage, RevisionUsage, Usage
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windlass.billing.rows import Batch
    from windlass.model.service import Revision


class RunningUsage:
    """The sums of all batches, by revision: its instances are taken together."""

    def __init__(self, revisions: Mapping[str, Revision]) -> None:
        """Begin with nothing; `revisions` are looked up as they appear, and may change."""
        self._revisions = revisions
        self._seen: dict[str, Revision] = {}
        self._amounts: dict[str, Amounts] = defaultdict(Amounts)
        self._counts: dict[str, RevisionAmounts] = defaultdict(RevisionAmounts)
        self._changed: set[str] = set()  # services

    def add(self, batch: Batch) -> None:
        """Add a batch; what is of a revision that nobody knows any more is left out."""
        for (instance, _), amounts in batch.instance_minutes.items():
            revision = instance.rpartition("-")[0]
            if self._know(revision):
                self._amounts[revision] += amounts
                self._changed.add(self._seen[revision].service)
        for (revision, _), counts in batch.revision_minutes.items():
            if self._know(revision):
                self._counts[revision] += counts
                self._changed.add(self._seen[revision].service)

    def forget(self, service: str) -> None:
        """Drop a service: it was deleted."""
        for name in [name for name, seen in self._seen.items() if seen.service == service]:
            del self._seen[name]
            self._amounts.pop(name, None)
            self._counts.pop(name, None)
        self._changed.discard(service)

    def take_changed(self) -> dict[str, Usage]:
        """Return all usage, as if of one month, of services that used more since the last call."""
        changed, self._changed = self._changed, set()
        seen_of: dict[str, list[Revision]] = defaultdict(list)
        for seen in self._seen.values():
            seen_of[seen.service].append(seen)
        usages: dict[str, Usage] = {}
        for service in sorted(changed):
            of_service = seen_of[service]
            usages[service] = Usage(
                since=0,
                until=0,
                instances=tuple(self._instances_of(revision) for revision in of_service),
                revisions=tuple(self._requests_of(revision) for revision in of_service),
            )
        return usages

    def _know(self, name: str) -> bool:
        if name not in self._seen and name in self._revisions:
            self._seen[name] = self._revisions[name]
        return name in self._seen

    def _instances_of(self, revision: Revision) -> InstanceUsage:
        limits = revision.template.limits
        return InstanceUsage(
            service=revision.service,
            revision=revision.name,
            instance="",
            month="",
            mode=revision.template.mode,
            milli_cpu=limits.milli_cpu,
            memory=limits.memory,
            amounts=self._amounts[revision.name],
        )

    def _requests_of(self, revision: Revision) -> RevisionUsage:
        limits = revision.template.limits
        return RevisionUsage(
            service=revision.service,
            revision=revision.name,
            month="",
            mode=revision.template.mode,
            milli_cpu=limits.milli_cpu,
            memory=limits.memory,
            counts=self._counts[revision.name],
        )


def billed(usage: InstanceUsage) -> int:
    """Return the nanoseconds that are billed by the usual rules of the mode it ran in."""
    amounts = usage.amounts
    if usage.mode is Mode.LAMBDA:
        return amounts.invocation_milliseconds * 1_000_000
    return amounts.startup + amounts.busy + amounts.shutdown + amounts.rounding_100ms
