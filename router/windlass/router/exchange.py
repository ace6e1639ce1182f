"""One request between a client and an instance, whatever protocol each side speaks: it gets a
slot, a connection, its retries, and gives all back. Neither side's bytes are known here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from windlass.router.access_log import Entry
from windlass.router.errors import Problem
from windlass.router.pool import Refused
from windlass.router.refusals import too_many
from windlass.router.retries import MAX_TRIES
from windlass.router.tracing import cold_start, server_timing

if TYPE_CHECKING:
    import asyncio

    from windlass.router.dispatch import Dispatch
    from windlass.router.endpoint import Endpoint
    from windlass.router.headers import Peer, RequestFields, ResponseHead
    from windlass.router.pool import Pool
    from windlass.router.upstream import Upstream

IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
CLIENT_GONE: Final = 499  # the status that is counted when the client did not wait, as nginx does


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange(ABC):
    """What every client protocol builds on.

    An HTTP/1 connection is itself the exchange of its current request, since it has one at a
    time: nothing is made per request. A protocol with streams makes one per stream.
    """

    __slots__ = (
        "began",
        "connected",
        "dispatch",
        "endpoint",
        "fields",
        "granted",
        "instance",
        "method",
        "own",
        "pool",
        "retries",
        "status",
        "target",
        "upstream",
        "wants_fields",
    )

    method: bytes
    target: bytes
    fields: RequestFields
    _peer: Peer

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.pool: Pool[Endpoint, Exchange] | None = None  # None: no request is under way
        self.endpoint: Endpoint | None = None  # whose slot it has; None: waits in the queue
        self.upstream: Upstream | None = None  # None: being connected
        self.began = 0  # moments in ns
        self.granted = 0
        self.connected = 0
        self.instance = ""  # the id of the instance it was given last
        self.own = b""  # the router's own fields of the request
        self.wants_fields = False  # the response gets fields of the router's own
        self.status = 0  # of the response, 0: none yet
        self.retries = 0  # times the request was tried again; then it has a place in the budget

    # What the client's side of the exchange calls.

    def begin(self, now: int) -> None:
        """Find a slot for the request that method, target and fields hold."""
        self.began = now
        self.status = 0
        self.retries = 0
        self.wants_fields = self.dispatch.server_timing
        self.instance, self.own = "", b""
        try:
            self.pool = pool = self.dispatch.pool_for(self.fields.host)
            limit = pool.max_body
            if limit and self.fields.length > limit:
                raise body_too_large(limit)
            endpoint = self._preferred(pool, now) if pool.session_affinity else None
            if endpoint is None:
                endpoint = pool.acquire(self, now)
        except Problem as problem:
            self.refuse(problem, now)
        except Refused as refused:
            self.refuse(too_many(refused, pool.route), now)
        else:
            if endpoint is None:
                self.dispatch.starved(pool)
            else:
                self.grant(endpoint, now)

    def abandon(self, status: int, now: int) -> None:
        """Give up the request, wherever it is: its client is gone, or its time is over."""
        pool = self.pool
        if pool is None:
            return
        if self.endpoint is None:
            pool.cancel(self, now)
        else:
            if self.upstream is not None:
                self.upstream.abort()
                self.upstream = None
                reached = True
            else:
                reached = not self.endpoint.cancel(self)
            self._leave(now, reached)
        self._end(pool, status, now)

    # What pool and upstream call.

    def grant(self, endpoint: Endpoint, now: int) -> None:
        """Go on with the slot that the request has on the instance now."""
        self.endpoint = endpoint
        self.granted = self.connected = now
        self.instance = endpoint.id
        if self.began < endpoint.added:
            self.wants_fields = True  # a cold start
        endpoint.lend(self, now)

    def refuse(self, problem: Problem, now: int) -> None:
        """Answer a request that has no slot."""
        pool = self.pool
        if pool is not None:
            self._end(pool, problem.status, now)
        self.on_problem(problem, pool.route.service if pool is not None else "")

    def complete(self, now: int) -> None:
        """The response is handed over whole: free the slot, count, go on with what comes next."""
        pool, endpoint = self.pool, self.endpoint
        if pool is not None and endpoint is not None:
            if endpoint.standing.failures or endpoint.standing.times:
                endpoint.standing.answer()
            self.upstream = None
            self._leave(now, reached=True)
            self._end(pool, self.status, now)
            self.on_complete(now)

    def fail(self, problem: Problem, now: int) -> None:
        """The instance did not answer, or not to the end."""
        pool = self.pool
        if pool is None:
            return
        self.upstream = None
        self._leave(now, reached=True)
        if self.status:
            self._end(pool, self.status, now)
            self.on_broken()
        else:
            self.refuse(problem, now)

    def lose(self, problem: Problem, now: int) -> None:
        """The instance closed the connection: as fail, and it counts against the instance."""
        if self.endpoint is not None and not self.status:
            self.dispatch.note_failures(self.endpoint, 1, problem.detail, now)
        self.fail(problem, now)

    def unreachable(self, reason: str, failures: int, now: int) -> None:
        """No connection to the instance could be made: try another one, nothing was sent."""
        endpoint = self.endpoint
        if self.pool is None or endpoint is None:
            return
        others = self.dispatch.note_failures(endpoint, failures, reason, now)
        again = others and self.may_retry()
        self._leave(now, reached=False)
        if again:
            self.retry(now, avoid=endpoint)
        else:
            detail = f"No connection to the instance {endpoint.id} could be made: {reason}."
            self.refuse(Problem(502, "instance-unreachable", detail), now)

    def may_retry(self) -> bool:
        """Take a place for another try in the revision's budget of retries, False: it has none."""
        pool = self.pool
        if pool is None or self.retries >= MAX_TRIES - 1:
            return False
        if not self.retries and not pool.budget.take(pool.counts.in_flight + pool.counts.queued):
            return False
        self.retries += 1
        return True

    def retry(self, now: int, avoid: Endpoint | None = None) -> None:
        """Find another slot for a request of which nothing was sent and that has none now."""
        pool = self.pool
        if pool is not None:
            endpoint = pool.retry(self, self.began, now, avoid)
            if endpoint is None:
                self.dispatch.starved(pool)
            else:
                self.grant(endpoint, now)

    def lose_slot(self, now: int) -> None:
        """The instance is gone before anything was sent to it: wait for another one."""
        self._leave(now, reached=False)
        self.retry(now)

    def is_repeatable(self) -> bool:
        """Tell whether the request may be sent again though the instance may have seen it."""
        return self.fields.length == 0 and self.method in IDEMPOTENT and not self.fields.upgrade

    def _end(self, pool: Pool[Endpoint, Exchange], status: int, now: int) -> None:
        """The request is over: count it."""
        pool.counts.count_response(status, now - self.began)
        if self.dispatch.access_log is not None:
            self.dispatch.access_log.add(self._entry(pool, status, now))
        if self.retries:
            pool.budget.give_back()
        self.pool = None

    def _leave(self, now: int, reached: bool) -> None:
        """Give back the slot; `reached`: the instance had the request, so it counts."""
        pool, endpoint = self.pool, self.endpoint
        if pool is None or endpoint is None:
            return
        self.endpoint = None
        if reached:
            ticket = pool.release(endpoint, self.granted, now)
        else:
            ticket = pool.give_back(endpoint, now)
        if ticket is not None:
            ticket.grant(endpoint, now)
        elif pool.returned:
            self.dispatch.returned(pool)
        elif endpoint.draining and not endpoint.in_flight:
            self.dispatch.drained(endpoint)

    def own_fields(self) -> bytes:
        """Return the fields that the instance gets besides the request's: ids to follow it by."""
        fields = self.fields
        self.own = self.dispatch.ids.fields(fields.request_id, fields.traced)
        return self.own

    def with_own_fields(self, head: ResponseHead, now: int) -> ResponseHead:
        """Return the response's head with the router's own fields; only if it `wants_fields`."""
        pool, endpoint, dispatch = self.pool, self.endpoint, self.dispatch
        if pool is None or endpoint is None:
            return head
        block = b""
        if dispatch.server_timing:
            block += self.own.partition(b"\n")[0] + b"\n" + server_timing(self, now)
        if self.cold_start():
            block += cold_start(self.cold_start())
        affinity = dispatch.affinity if pool.session_affinity else None
        if affinity is not None and affinity.instance(self.fields.block) != endpoint.id:
            block += affinity.set_cookie(endpoint.id)
        return head.with_fields(block)

    def response_outlet(self) -> asyncio.Transport | None:
        """Return where parts of the response's body may go as they are, None: by on_data only."""
        return None

    def cold_start(self) -> int:
        """Return the ns that the request waited for its instance to be ready, 0: it was."""
        return max(self.endpoint.added - self.began, 0) if self.endpoint is not None else 0

    def _preferred(self, pool: Pool[Endpoint, Exchange], now: int) -> Endpoint | None:
        self.wants_fields = True
        name = self.dispatch.affinity.instance(self.fields.block)
        return pool.prefer(name, now) if name else None

    def _entry(self, pool: Pool[Endpoint, Exchange], status: int, now: int) -> Entry:
        granted = max(self.granted, self.began)  # it may be that of the request before
        return Entry(
            ended=now,
            began=self.began,
            queued=granted - self.began,
            client=self._peer.address,
            method=self.method,
            target=self.target,
            host=self.fields.host,
            status=status,
            revision=pool.route.name,
            instance=self.instance,
            own=self.own,
        )

    # What each client protocol implements.

    @abstractmethod
    def on_connected(self, upstream: Upstream) -> None:
        """Send what is there of the request."""

    @abstractmethod
    def on_informational(self, head: ResponseHead) -> None:
        """Pass on a 1xx."""

    @abstractmethod
    def on_response(self, head: ResponseHead, body: bytes, ended: bool) -> None:
        """Pass on a response's head and what is there of its body."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """Pass on a part of the response's body (of the tunnel, after a 101)."""

    @abstractmethod
    def on_end(self, trailers: bytes) -> None:
        """End the response's body."""

    @abstractmethod
    def on_complete(self, now: int) -> None:
        """The exchange is over and its slot free."""

    @abstractmethod
    def on_problem(self, problem: Problem, service: str) -> None:
        """Answer with a problem; the exchange is over and nothing was answered yet."""

    @abstractmethod
    def on_broken(self) -> None:
        """The response cannot be finished: show the client that it is not whole."""

    @abstractmethod
    def on_upstream_full(self) -> None:
        """Hold back the request's body until on_upstream_ready."""

    @abstractmethod
    def on_upstream_ready(self) -> None:
        """Go on with the request's body."""


def body_too_large(limit: int) -> Problem:
    """Return the problem of a request body over its revision's limit."""
    return Problem(413, "body-too-large", f"The request body is over the limit of {limit} bytes.")
