"""A running platform as the comparison's target (`windlass.bench.compare.Target`)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from windlass.bench.compare import Endpoint, Observed
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import problem
from windlass.deploy.api.schema import DeployRequest
from windlass.deploy.comparison.settings import template_for
from windlass.model.instance import ENDED

if TYPE_CHECKING:
    from windlass.bench.compare import Settings
    from windlass.billing.book import Book
    from windlass.deploy.api.client import Client
    from windlass.deploy.api.schema import ServiceView
    from windlass.deploy.comparison.settings import Asked
    from windlass.deploy.options import ListenAddress
    from windlass.model.service import Mode, Template

MAX_INSTANCES = 1000  # an AWS account's concurrency unless it asks for more
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to call what listens on all addresses


class PlatformTarget:
    """Deploys, meters and deletes through a platform's API."""

    def __init__(self, client: Client, asked: Asked) -> None:
        self._client, self._asked = client, asked

    async def deploy(self, name: str, settings: Settings, mode: Mode) -> Endpoint:
        """Deploy in this mode and say where it is called."""
        template = template_for(self._asked, mode, MAX_INSTANCES)
        async for _ in self._client.deploy(DeployRequest(name=name, template=template)):
            pass
        service = await self._client.describe(name)
        return endpoint((await self._client.status()).http, service.url)

    async def observe(self, name: str) -> Observed:
        """Read the service's bill, with the book of its mode, and count its instances."""
        bill = await self._client.bill(name)
        book = next(book for book in bill.books if book.actual)
        instances = await self._client.instances(name)
        fees = (line.amount for line in book.lines if line.item == "requests")
        return Observed(
            cold_starts=bill.usage.cold_starts,
            peak_instances=bill.usage.peak_instances,
            billed_instance_seconds=book.billed_instance_seconds,
            cost=book.total,
            request_fees=sum(fees, Decimal(0)),
            instances_now=sum(instance.state not in ENDED for instance in instances),
            starts=tuple(i.ready - i.started for i in instances if i.ready is not None),
        )

    async def delete(self, name: str) -> None:
        """Delete the service, if it is there."""
        try:
            await self._client.delete(name)
        except Refused as refused:
            if refused.problem.status != 404:
                raise


class Describes(Protocol):
    """A platform, or the client of one."""

    async def describe(self, name: str) -> ServiceView:
        """Return one service."""


async def template_of(platform: Describes, service: str) -> Template:
    """Return the template of a service's latest ready revision.

    Raises:
        Refused: there is no such service (404), or none of its revisions came up (422).
    """
    view = await platform.describe(service)
    ready = (one.template for one in view.revisions if one.name == view.latest_ready)
    template = next(ready, None)
    if template is None:
        detail = f"no revision of {service!r} is ready; see `windlass events {service}`"
        raise Refused(problem(422, "not-ready", detail))
    return template


async def usual_books(client: Client) -> tuple[Book, Book]:
    """Return the platform's usual books for shared instances and for one request each."""
    return await client.book("cloudrun"), await client.book("lambda")


def admin_url(address: ListenAddress) -> str:
    """Return the URL by which this machine reaches what listens there."""
    return f"http://{replace(address, host=EVERYWHERE.get(address.host, address.host))}"


def endpoint(http: str, url: str) -> Endpoint:
    """Return where to connect for a service, and the Host to ask for."""
    address = urlsplit(f"//{http}")
    host, port = address.hostname or "", address.port or 80
    return Endpoint(EVERYWHERE.get(host, host), port, urlsplit(url).netloc)
