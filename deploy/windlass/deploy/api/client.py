"""Calls a running platform: what the command line and the comparison speak to it through."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from windlass.billing.book import Book
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.schema import (
    BillTerms,
    BillView,
    BookView,
    DecisionView,
    Done,
    EventView,
    Failed,
    Heartbeat,
    InstanceView,
    LogLineView,
    NowView,
    Problem,
    Progress,
    ReloadView,
    ServiceView,
    SharesView,
    StandbyView,
    StatusView,
    TrafficRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    from windlass.deploy.api.schema import DeployRequest
    from windlass.model.service import Target

T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:8090"
CONNECT_WITHIN = 5.0  # seconds
ANSWER_WITHIN = 60.0  # seconds between two bytes of an answer; deploys send heartbeats
MAX_LINE = 16 * 1024**2  # bytes of one line of an answer


class Unreachable(Exception):
    """No platform answers at the address."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(
            f"No Windlass platform answers at {server} ({reason}). Start one with `windlass up`, "
            "or name another with --server or WINDLASS_SERVER."
        )
        self.server, self.reason = server, reason


class Client:
    """A platform's API. Every method raises Unreachable, or Refused with the platform's problem."""

    def __init__(self, server: str = DEFAULT_SERVER) -> None:
        self.server = server.rstrip("/")
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_WITHIN, sock_read=ANSWER_WITHIN
        )
        self._session = aiohttp.ClientSession(timeout=timeout, read_bufsize=MAX_LINE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def status(self) -> StatusView:
        """Return how the platform runs."""
        return await self._get("/api/v1/status", StatusView)

    async def reload(self) -> ReloadView:
        """Replace the router workers."""
        async with self._request("POST", "/api/v1/reload") as response:
            return _decode(await response.read(), ReloadView, self.server)

    async def services(self) -> list[ServiceView]:
        """Return all services."""
        return await self._get("/api/v1/services", list[ServiceView])

    async def describe(self, name: str) -> ServiceView:
        """Return one service."""
        return await self._get(_path(name), ServiceView)

    async def delete(self, name: str) -> None:
        """Delete a service."""
        async with self._request("DELETE", _path(name)):
            pass

    async def set_traffic(self, name: str, traffic: Sequence[Target]) -> ServiceView:
        """Send a service's requests elsewhere."""
        body = msgspec.json.encode(TrafficRequest(traffic=tuple(traffic)))
        async with self._request("PUT", _path(name, "traffic"), data=body) as response:
            return _decode(await response.read(), ServiceView, self.server)

    async def now(self) -> list[NowView]:
        """Return how every service does now."""
        return await self._get("/api/v1/now", list[NowView])

    async def instances(self, name: str) -> list[InstanceView]:
        """Return a service's instances."""
        return await self._get(_path(name, "instances"), list[InstanceView])

    async def standbys(self, name: str) -> list[StandbyView]:
        """Return what was made ahead for a service's next instances."""
        return await self._get(_path(name, "standbys"), list[StandbyView])

    async def events(self, name: str) -> list[EventView]:
        """Return what happened to a service."""
        return await self._get(_path(name, "events"), list[EventView])

    async def explain(self, name: str) -> list[DecisionView]:
        """Return the autoscaler's decisions for a service."""
        return await self._get(_path(name, "explain"), list[DecisionView])

    async def books(self) -> list[BookView]:
        """Return the price books."""
        return await self._get("/api/v1/books", list[BookView])

    async def book(self, name: str) -> Book:
        """Return one price book, whole."""
        return await self._get(f"/api/v1/books/{quote(name, safe='')}", Book)

    async def bill(
        self, service: str = "", book: str = "", since: str = "", terms: BillTerms | None = None
    ) -> BillView:
        """Return a bill; empty: all services, every book, from the beginning."""
        query = _bill_query(service, book, since, terms or BillTerms())
        return await self._get("/api/v1/bill", BillView, query)

    async def shares(
        self, service: str, book: str, since: str, step: int | None, terms: BillTerms
    ) -> SharesView:
        """Return a bill in one book, taken apart by instance and `step` minutes, if any."""
        query = _bill_query(service, book, since, terms)
        query |= {"step": str(step)} if step else {}
        return await self._get("/api/v1/bill/shares", SharesView, query)

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[LogLineView]:
        """Yield log lines; with `follow`, for ever."""
        query = {"tail": str(tail), "follow": str(follow).lower()}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN)
        return self._lines("GET", _path(name, "logs"), LogLineView, params=query, timeout=timeout)

    def deploy(self, request: DeployRequest) -> AsyncIterator[Progress]:
        """Deploy; yields Step and Notice, and Done last."""
        return self._progress("/api/v1/services", msgspec.json.encode(request), "application/json")

    def apply(self, text: str) -> AsyncIterator[Progress]:
        """Apply a manifest in YAML; yields as `deploy`."""
        return self._progress("/api/v1/apply", text.encode(), "application/yaml")

    async def _progress(self, path: str, body: bytes, kind: str) -> AsyncIterator[Progress]:
        """Yield what a user should hear of, and raise a failure."""
        headers = {"Content-Type": kind}
        async for event in self._lines("POST", path, Progress, data=body, headers=headers):
            match event:
                case Heartbeat():
                    pass
                case Failed(problem):
                    raise Refused(problem)
                case Done():
                    yield event
                    return
                case _:
                    yield event
        raise Unreachable(self.server, "it went away before the end")

    async def _lines(self, method: str, path: str, kind: Any, **options: Any) -> AsyncIterator[Any]:
        async with self._request(method, path, **options) as response:
            async for line in response.content:
                yield _decode(line, kind, self.server)

    async def _get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        async with self._request("GET", path, params=query) as response:
            return _decode(await response.read(), kind, self.server)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and see that its answer is no problem."""
        try:
            async with self._session.request(method, self.server + path, **options) as response:
                if response.status >= 400:
                    problem = _decode(await response.read(), Problem, self.server)
                    raise Refused(problem)
                yield response
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise Unreachable(self.server, "not a URL such as http://127.0.0.1:8090") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = os.strerror(number) if number else str(error) or type(error).__name__
            raise Unreachable(self.server, reason) from error


def _bill_query(service: str, book: str, since: str, terms: BillTerms) -> dict[str, str]:
    given = {
        "service": service,
        "book": book,
        "since": since,
        "free_tier": "true" if terms.free_tier else "",
        "rounding": terms.rounding or "",
    }
    return {key: value for key, value in given.items() if value}


def _path(name: str, *rest: str) -> str:
    return "/".join(["/api/v1/services", quote(name, safe=""), *rest])


def _decode(body: bytes, kind: Callable[..., T] | type[T], server: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        reason = "what answers there does not speak Windlass' API"
        raise Unreachable(server, reason) from error
