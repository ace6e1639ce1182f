"""Which revision a Host goes to: names, tags and traffic splits. Pure; knows no pool or socket."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from windlass.router.errors import Problem

if TYPE_CHECKING:
    from windlass.router.link import Routes, ServiceRoute

TAG_SEPARATOR = "---"

# Coprime with 100 and near the golden ratio: n * 61 % 100 visits each of the 100 points once in
# 100 requests, so that percents are kept exactly, and well spread, so that they hold early.
_STRIDE = 61


class Split:
    """A service's traffic, by percent, over its revisions."""

    __slots__ = ("_bounds", "_requests", "_revisions", "service")

    def __init__(self, service: ServiceRoute) -> None:
        parts = [part for part in service.splits if part.percent > 0]
        self.service = service.name
        self._revisions = [part.revision for part in parts]
        self._bounds = list(accumulate(part.percent for part in parts))
        self._requests = 0

    def choose(self) -> str:
        """Return the revision of the service's next request; empty if none has traffic."""
        revisions = self._revisions
        if len(revisions) == 1:
            return revisions[0]
        if not revisions:
            return ""
        point = self._requests * _STRIDE % self._bounds[-1]
        self._requests += 1
        return revisions[bisect_right(self._bounds, point)]


class Table:
    """The routing table: replaced as a whole, never changed."""

    __slots__ = ("_default", "_hosts", "default_service")

    def __init__(self, routes: Routes, domains: tuple[str, ...] = ()) -> None:
        """Index the routes, under their own domains and the given ones."""
        self._hosts: dict[bytes, Split | str] = {}
        self._default: Split | None = None
        self.default_service = routes.default_service
        for service in routes.services:
            split = Split(service)
            if service.name == routes.default_service:
                self._default = split
            for domain in (*routes.domains, *domains):
                self._add_names(service, split, domain)

    def _add_names(self, service: ServiceRoute, split: Split, domain: str) -> None:
        name = f"{service.name}.{domain}"
        self._hosts[name.lower().encode()] = split
        for part in service.splits:
            if part.tag:
                tagged = f"{part.tag}{TAG_SEPARATOR}{name}"
                self._hosts[tagged.lower().encode()] = part.revision

    def revision(self, host: bytes) -> str:
        """Return the revision of a request to `host` (lower case, without port).

        Raises:
            Problem: 404, no service has this name; 503, the service has no traffic.
        """
        found = self._hosts.get(host) or self._default
        if found is None:
            raise Problem(
                404,
                "no-such-service",
                f"No service answers to the host {host.decode('ascii', 'replace')!r}; "
                "`windlass services list` shows those there are.",
            )
        if isinstance(found, str):
            return found
        revision = found.choose()
        if not revision:
            raise Problem(
                503, "no-revision", f"The service {found.service} has no revision with traffic yet."
            )
        return revision
