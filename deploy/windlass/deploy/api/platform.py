"""What the API needs of the platform behind it. The node is one; tests have one in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from windlass.billing.book import Book
    from windlass.deploy.api.schema import (
        BillTerms,
        BillView,
        BookView,
        CostView,
        DecisionView,
        EventView,
        InstanceView,
        LogLineView,
        OverviewView,
        Problem,
        Progress,
        ReloadView,
        ServiceView,
        SharesView,
        StandbyView,
        StatusView,
        TimelineView,
    )
    from windlass.deploy.comparison.settings import Asked
    from windlass.deploy.comparison.views import RunView
    from windlass.deploy.manifest import ServiceSpec
    from windlass.model.service import Target, Template


class Refused(Exception):
    """The platform did not do what it was asked; the problem says why, and nothing was changed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem


class Comparisons(Protocol):
    """The comparisons that were started from the dashboard: one at a time."""

    @property
    def known(self) -> Sequence[RunView]:
        """The latest first; the first one may go on."""

    async def start(self, asked: Asked) -> RunView:
        """Start one; it goes on whoever looks.

        Raises:
            Refused: another one goes on (409), or a setting makes no sense (422).
        """

    async def cancel(self) -> None:
        """Stop the one that goes on, if one does; return when what it deployed is deleted."""

    def report(self, run: str) -> Path | None:
        """Return the report of a run; None: there is none."""


class Platform(Protocol):
    """Every method that names a service raises Refused (404) where there is none of that name."""

    @property
    def comparisons(self) -> Comparisons:
        """What the dashboard's page compares."""

    def deploy(
        self,
        name: str,
        template: Template,
        *,
        labels: Mapping[str, str],
        traffic: bool,
        health_check: bool,
    ) -> AsyncIterator[Progress]:
        """Make a revision of a service; the template is valid.

        Yields Step and Notice, and Done last. Cancelled: the revision counts as failed.

        Raises:
            Refused: the image is not to be had (422), it does not come up (422), ...
        """

    def apply(self, spec: ServiceSpec) -> AsyncIterator[Progress]:
        """Make the service what a manifest says; no new revision where the template is the same.

        Yields and raises as `deploy`.
        """

    async def set_traffic(self, name: str, traffic: Sequence[Target]) -> ServiceView:
        """Send the service's requests elsewhere.

        Raises:
            Refused: a revision is unknown or not ready (422).
        """

    async def delete(self, name: str) -> None:
        """Drain and stop all instances of a service and forget it; its bill stays."""

    async def services(self) -> list[ServiceView]:
        """Return all services by name."""

    async def describe(self, name: str) -> ServiceView:
        """Return one service."""

    async def instances(self, name: str) -> list[InstanceView]:
        """Return the instances of a service that live, and those that ended lately."""

    async def standbys(self, name: str) -> list[StandbyView]:
        """Return the containers that were made ahead for a service's next instances."""

    async def events(self, name: str) -> list[EventView]:
        """Return what happened to a service, oldest first."""

    async def explain(self, name: str) -> list[DecisionView]:
        """Return the autoscaler's latest decisions for a service, oldest first."""

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[LogLineView]:
        """Yield the last `tail` lines of a service's instances; with `follow`, then those to come.

        Raises Refused at the first step.
        """

    async def overview(self) -> list[OverviewView]:
        """Return how every service does now, by name; from memory, without waiting."""

    async def timeline(self, name: str, since: float) -> list[TimelineView]:
        """Return what a service's instances did since a moment (Unix seconds), oldest first.

        As far back as the platform remembers: the ledger keeps sums, not moments.
        """

    async def costs(self, since: float) -> list[CostView]:
        """Return what every service cost since a moment (Unix seconds) that was metered then."""

    async def bill(
        self,
        service: str | None,
        book: str | None,
        since: float | None,
        until: float | None = None,
        terms: BillTerms | None = None,
    ) -> BillView:
        """Return the bill of one service or of all, with one book or with each.

        `since`, `until`: Unix seconds, by whole minutes; None: from the beginning, up to now.
        A deleted service's bill is to be had too.

        Raises:
            Refused: no service of that name was ever metered (404), no such book (404).
        """

    async def shares(
        self,
        service: str | None,
        book: str,
        since: float | None,
        step: int | None,
        terms: BillTerms,
    ) -> SharesView:
        """Return the same bill taken apart, by instance and `step` minutes; None: not by time.

        Raises:
            Refused: as `bill`.
        """

    async def books(self) -> list[BookView]:
        """Return the price books."""

    async def book(self, name: str) -> Book:
        """Return a price book by its name or an alias.

        Raises:
            Refused: there is none (404).
        """

    async def reload(self) -> ReloadView:
        """Replace the router workers one by one; no request is lost.

        Raises:
            Refused: a new worker does not come up (503); the old ones serve on.
        """

    async def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format."""

    async def status(self) -> StatusView:
        """Return how the platform itself runs."""
