"""What a worker knows: routes, pools, endpoints and clients; applies what the node says to them.

The link and the listening socket are not known here.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from heapq import nsmallest
from typing import TYPE_CHECKING, Protocol

import structlog

from windlass.router.affinity import Affinity
from windlass.router.endpoint import IDLE_LIMIT, Endpoint
from windlass.router.endpoint_http2 import Http2Endpoint
from windlass.router.errors import Problem
from windlass.router.link import (
    Grant,
    InstanceDraining,
    InstanceFrozen,
    InstanceGone,
    InstanceReady,
    InstanceReport,
    InstanceRest,
    InstanceUnready,
    Refuse,
    RevisionReport,
    Routes,
    StartFailed,
    Thaw,
)
from windlass.router.pool import SECOND, Pool, Reason, Refused
from windlass.router.refusals import deleted, too_many, waited_in_vain
from windlass.router.routes import Table
from windlass.router.tracing import Ids

if TYPE_CHECKING:
    from windlass.router.access_log import AccessLog
    from windlass.router.exchange import Exchange
    from windlass.router.headers import Peer, RequestFields

log = structlog.get_logger(__name__)


class Voice(Protocol):
    """Tells the node; never waits."""

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Requests wait for the revision and no slot is free."""

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None:
        """Slots that the node wanted back were given up."""

    def aside(self, instance: str, *, aside: bool) -> None:
        """An instance gets no request from here for a while, or does again."""

    def drained(self, instance: str) -> None:
        """A draining instance has nothing in flight."""

    def rested(self, instance: str, number: int, *, at_rest: bool) -> None:
        """An instance may be frozen for the rest of that number, or is in use."""

    def woken(self, instance: str) -> None:
        """A frozen instance was thawed for a request."""

    def unreachable(self, instance: str, failures: int, reason: str) -> None:
        """An instance failed `failures` times in a row."""


class Client(Protocol):
    """A client's connection, as far as the worker watches over it."""

    deadline: int  # ns; the moment at which `expire` is due, 0: none

    def expire(self, now: int) -> None:
        """The deadline is over."""

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""

    def drain(self, now: int, until: int, *, patient: bool) -> None:
        """Serve no more than what is under way, and one request more that begins before `until`.

        `patient`: wait for that one as long as for any; else only if it is likely.
        """

    def abort(self) -> None:
        """Close at once."""


class Dispatch:
    """Where an exchange gets its pool, and what the node's messages change."""

    __slots__ = (
        "_aside",
        "_at_rest",
        "_domains",
        "_endpoints",
        "_table",
        "_voice",
        "access_log",
        "affinity",
        "clients",
        "draining",
        "emptied",
        "ids",
        "known_fields",
        "known_peer",
        "known_section",
        "max_clients",
        "pools",
        "server_timing",
        "tunnel_idle",
    )

    def __init__(self, voice: Voice, domains: tuple[str, ...] = ()) -> None:
        self._voice = voice
        self._domains = domains  # besides those in the node's routes
        self._table = Table(Routes(services=(), revisions=()))
        self._endpoints: dict[str, Endpoint] = {}
        self._aside: set[Endpoint] = set()
        self._at_rest: dict[Endpoint, Thaw] = {}  # the node may be freezing them at this moment
        self.pools: dict[str, Pool[Endpoint, Exchange]] = {}
        self.clients: set[Client] = set()
        # What the section of fields that was read last meant, from whom: who connects anew for each
        # request sends the same again.
        self.known_section: bytes | None = None
        self.known_peer: Peer | None = None
        self.known_fields: RequestFields | None = None
        self.max_clients = 0  # connected at once, above which idle ones are closed; 0: any number
        self.draining = False
        self.access_log: AccessLog | None = None
        self.ids = Ids()
        self.affinity = Affinity(secrets.token_bytes(32))
        self.server_timing = False  # responses say where the time went
        self.tunnel_idle = 0  # ns after which a tunnel through which nothing passes ends; 0: never
        self.emptied = asyncio.Event()  # draining, and no client is left

    # For exchanges.

    def pool_for(self, host: bytes) -> Pool[Endpoint, Exchange]:
        """Return the pool of the revision that serves a host.

        Raises:
            Problem: 404, there is none; 503, it is not known yet.
        """
        revision = self._table.revision(host)
        pool = self.pools.get(revision)
        if pool is None:
            raise Problem(503, "no-revision", f"The revision {revision} is not known yet.")
        return pool

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None:
        """A request waits."""
        self._voice.starved(pool)

    def returned(self, pool: Pool[Endpoint, Exchange]) -> None:
        """A slot that the node wanted back is free."""
        self._voice.returned(pool)

    def drained(self, endpoint: Endpoint) -> None:
        """The last request of a draining instance ended."""
        if not endpoint.gone:
            endpoint.close_idle(before=1 << 63)
            self._voice.drained(endpoint.id)

    def note_failures(self, endpoint: Endpoint, count: int, reason: str, now: int) -> bool:
        """Connections to an instance failed: set it aside if it is bad, unless it is the last one.

        Returns whether another one may be tried.
        """
        standing = endpoint.standing
        standing.fail(count)
        self._voice.unreachable(endpoint.id, standing.failures, reason)
        pool = self.pools[endpoint.route.revision]
        others = any(other.open for other in pool.instances.values() if other is not endpoint)
        if others and endpoint.open and standing.is_bad():
            pool.close(endpoint)
            standing.set_aside(now)
            self._aside.add(endpoint)
            self._voice.aside(endpoint.id, aside=True)
            seconds = (standing.aside_until - now) // SECOND
            log.warning("set aside", instance=endpoint.id, seconds=seconds, reason=reason)
        return others

    # For the node's messages.

    def apply_routes(self, routes: Routes, now: int) -> None:
        """Replace the routing table; revisions that vanished finish what they have.

        Who waits for an instance of a deleted service gets none any more, and is told so.
        """
        for route in routes.revisions:
            pool = self.pools.get(route.name)
            if pool is None:
                self.pools[route.name] = Pool(route, now, routes.workers)
            else:
                pool.configure(route, routes.workers)
        self._table = Table(routes, self._domains)
        current = {route.name for route in routes.revisions}
        services = {service.name for service in routes.services}
        for name, pool in list(self.pools.items()):
            if pool.route.service not in services:
                for ticket in pool.dismiss(now, len(pool.queue)):
                    ticket.refuse(deleted(pool.route), now)
            counts = pool.counts
            if name not in current and not (pool.instances or counts.in_flight or counts.queued):
                del self.pools[name]

    def add_instance(self, message: InstanceReady, now: int) -> None:
        """Let a ready instance get requests, on the slots that are leased."""
        route = message.instance
        pool = self.pools.get(route.revision)
        if pool is None:
            log.warning("instance of an unknown revision", instance=route.id)
            return
        endpoint = self._endpoints.get(route.id)
        if endpoint is None:
            kind = Http2Endpoint if pool.route.protocol == "h2c" else Endpoint
            endpoint = self._endpoints[route.id] = kind(route)
            tickets = pool.add(endpoint, now)
        else:
            # The node knows best: one that drains here may be one that a new node took over.
            endpoint.draining = False
            self._readmit(endpoint)
            self._at_rest.pop(endpoint, None)
            endpoint.standing.come_back()
            tickets = pool.open(endpoint, now)
        for ticket in tickets:
            ticket.grant(endpoint, now)
        if pool.returned:
            self.returned(pool)

    def lease(self, message: Grant, now: int) -> None:
        """Take more slots of an instance, and give them to those who wait."""
        endpoint = self._endpoints.get(message.instance)
        if endpoint is not None and not endpoint.gone:
            pool = self.pools[endpoint.route.revision]
            for ticket in pool.lease(endpoint, message.slots, now):
                ticket.grant(endpoint, now)
            if pool.queue and endpoint in self._aside:
                self.starved(pool)  # the node did not know: those who wait need another one's slots
            if pool.returned:
                self.returned(pool)

    def keep_leases(self) -> None:
        """Give nothing back while the node is away."""
        for pool in self.pools.values():
            pool.keep_leases()

    def refuse(self, message: Refuse, now: int) -> None:
        """Answer those who waited last: all workers together have as many as are allowed."""
        pool = self.pools.get(message.revision)
        if pool is not None:
            problem = too_many(Refused(Reason.AT_LIMIT, pool.route.max_instances), pool.route)
            for ticket in pool.dismiss(now, message.requests):
                ticket.refuse(problem, now)

    def leases(self) -> dict[str, int]:
        """Return the slots that are leased, by instance that is not gone."""
        return {name: one.slots for name, one in self._endpoints.items() if not one.gone}

    def set_aside(self) -> tuple[str, ...]:
        """Return the instances that get no request for a while."""
        return tuple(endpoint.id for endpoint in self._aside)

    def withhold_instance(self, message: InstanceUnready) -> None:
        """Give an instance no new request until it is ready again."""
        endpoint = self._endpoints.get(message.instance)
        if endpoint is not None and not endpoint.gone:
            self._close(endpoint)

    def rest_instance(self, message: InstanceRest) -> None:
        """Let go of an instance that the node wants to freeze, unless it is in use."""
        endpoint = self._endpoints.get(message.instance)
        at_rest = True
        if endpoint is not None and not endpoint.gone:
            at_rest = self.pools[endpoint.route.revision].rest(endpoint)
            if at_rest:
                self._at_rest[endpoint] = message.thaw
        self._voice.rested(message.instance, message.round, at_rest=at_rest)

    def freeze_instance(self, message: InstanceFrozen, now: int) -> None:
        """Take an instance for frozen: the next request that needs it thaws it here."""
        endpoint = self._endpoints.get(message.instance)
        if endpoint is not None and endpoint in self._at_rest:
            self._freeze(endpoint, now)

    def lose_node(self, now: int) -> None:
        """The node is away: what it was freezing may be frozen, and is ours to thaw."""
        for endpoint in list(self._at_rest):
            self._freeze(endpoint, now)

    def _freeze(self, endpoint: Endpoint, now: int) -> None:
        thaw = partial(self._thaw, endpoint, self._at_rest.pop(endpoint))
        for ticket in self.pools[endpoint.route.revision].freeze(endpoint, thaw, now):
            ticket.grant(endpoint, now)

    def _thaw(self, endpoint: Endpoint, thaw: Thaw) -> None:
        """Let a frozen instance run on: no waiting for the node, which may be gone."""
        try:
            with open(thaw.file, "r+b", buffering=0) as file:  # never makes one
                file.write(thaw.value.encode())
        except OSError as error:  # it has ended: its connections will say so
            log.warning("cannot thaw", instance=endpoint.id, error=str(error))
        self._voice.woken(endpoint.id)

    def _close(self, endpoint: Endpoint) -> None:
        self.pools[endpoint.route.revision].close(endpoint)
        self._readmit(endpoint)
        self._at_rest.pop(endpoint, None)

    def _readmit(self, endpoint: Endpoint) -> None:
        if endpoint in self._aside:
            self._aside.discard(endpoint)
            self._voice.aside(endpoint.id, aside=False)

    def drain_instance(self, message: InstanceDraining) -> None:
        """Give an instance no new request; say so when it has none."""
        endpoint = self._endpoints.get(message.instance)
        if endpoint is None or endpoint.gone:
            self._voice.drained(message.instance)
            return
        self._close(endpoint)
        self.pools[endpoint.route.revision].drain(endpoint)
        if not endpoint.in_flight:
            self.drained(endpoint)

    def remove_instance(self, message: InstanceGone, now: int) -> None:
        """Forget an instance that has ended; what it has in flight fails."""
        endpoint = self._endpoints.get(message.instance)
        if endpoint is not None and not endpoint.gone:
            self._close(endpoint)
            self.pools[endpoint.route.revision].remove(endpoint)
            endpoint.leave(message.reason, now)

    def fail_start(self, message: StartFailed, now: int) -> None:
        """Answer those who wait for an instance that does not come up."""
        pool = self.pools.get(message.revision)
        if pool is not None:
            problem = Problem(503, "start-failed", f"No instance could start: {message.reason}")
            for ticket in pool.dismiss(now, len(pool.queue)):
                ticket.refuse(problem, now)

    # For the worker's clock.

    def sweep(self, now: int) -> None:
        """End what has lasted too long. Deadlines are met within one interval of the sweep."""
        for client in [client for client in self.clients if 0 < client.deadline <= now]:
            client.expire(now)
        if self.max_clients and len(self.clients) > self.max_clients:
            self._close_idle_clients(len(self.clients) - self.max_clients)
        for pool in self.pools.values():
            for ticket in pool.expire(now):
                ticket.refuse(waited_in_vain(pool.route), now)
        for endpoint in self._endpoints.values():
            endpoint.close_idle(now - IDLE_LIMIT)
        for endpoint in [one for one in self._aside if one.standing.aside_until <= now]:
            self._readmit(endpoint)
            endpoint.standing.come_back()
            pool = self.pools[endpoint.route.revision]
            for ticket in pool.open(endpoint, now):
                ticket.grant(endpoint, now)
            if pool.returned:
                self.returned(pool)

    def _close_idle_clients(self, count: int) -> None:
        """Make room for others: close the connections that would time out first."""
        idle = [client for client in self.clients if client.is_idle()]
        closed = nsmallest(count, idle, key=lambda client: client.deadline)
        for client in closed:
            client.abort()
        log.warning("closed idle clients", count=len(closed), limit=self.max_clients)

    def report(self, now: int) -> tuple[list[RevisionReport], list[InstanceReport]]:
        """Return what happened since the last call, and forget instances that are gone."""
        revisions = [report for pool in self.pools.values() if (report := pool.report(now))]
        instances = []
        for endpoint in list(self._endpoints.values()):
            done = endpoint.counts.report(endpoint.id, endpoint.in_flight)
            if done is not None:
                instances.append(done)
            if endpoint.gone and not endpoint.in_flight:
                del self._endpoints[endpoint.id]
        return revisions, instances

    def drain(self, now: int, until: int, *, patient: bool) -> None:
        """Let each client finish what is under way."""
        self.draining = True
        for client in list(self.clients):
            client.drain(now, until, patient=patient)
        self._note_empty()

    def forget_client(self, client: Client) -> None:
        """A client's connection is closed."""
        self.clients.discard(client)
        self._note_empty()

    def _note_empty(self) -> None:
        if self.draining and not self.clients:
            self.emptied.set()

    def abort_clients(self) -> None:
        """Close the connections of all clients at once."""
        for client in list(self.clients):
            client.abort()
