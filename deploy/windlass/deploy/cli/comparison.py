"""What the comparison needs of this side: its settings from flags, and a platform as its target."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from windlass.bench.compare import Endpoint, Observed, Settings
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.schema import DeployRequest
from windlass.deploy.cli.faults import WrongFlags
from windlass.deploy.cli.flags import FlagReader, Flags, read_number, read_template, read_whole
from windlass.deploy.quantity import read_duration
from windlass.deploy.violation import Violation
from windlass.model.instance import ENDED
from windlass.model.service import Container, Limits, Mode, Scaling, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windlass.deploy.api.client import Client

MAX_INSTANCES = 1000  # an AWS account's concurrency unless it asks for more
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to call what listens on all addresses


def read_settings(
    image: str, command_line: str | None, flags: Mapping[str, str | None]
) -> Settings:
    """Return the comparison's settings.

    Raises:
        WrongFlags: with all that is wrong.
    """
    typed = Flags(
        image=image or None,
        exec=command_line,
        concurrency=flags["concurrency"],
        cpu=flags["cpu"],
        memory=flags["memory"],
    )
    template, wrong = read_template(typed, None)
    reader = FlagReader()
    rate = reader.take("--rate", flags["rate"], read_number) or 0.0
    clients = reader.take("--clients", flags["clients"], read_whole)
    duration = reader.take("--duration", flags["duration"], read_duration) or 0.0
    ramp = reader.take("--ramp", flags["ramp"], read_duration) or 0.0
    wrong += reader.wrong
    path = flags["path"] or "/"
    if not path.startswith("/"):
        wrong.append(Violation(path="--path", value=path, allowed="a path that starts with '/'"))
    if wrong:
        raise WrongFlags(wrong)
    return Settings(
        image=template.container.image,
        exec=template.container.exec,
        rate=rate,
        clients=clients,
        duration=duration,
        ramp=ramp,
        path=path,
        concurrency=template.limits.concurrency,
        milli_cpu=template.limits.milli_cpu,
        memory=template.limits.memory,
        against=flags["against"],
    )


class PlatformTarget:
    """A running platform as the comparison's target (`windlass.bench.compare.Target`)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def deploy(self, name: str, settings: Settings, mode: Mode) -> Endpoint:
        """Deploy in this mode and say where it is called."""
        concurrency = 1 if mode is Mode.LAMBDA else settings.concurrency
        template = Template(
            container=Container(image=settings.image, exec=settings.exec),
            limits=Limits(
                concurrency=concurrency, milli_cpu=settings.milli_cpu, memory=settings.memory
            ),
            scaling=Scaling(max_instances=MAX_INSTANCES),
            mode=mode,
        )
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
        )

    async def delete(self, name: str) -> None:
        """Delete the service, if it is there."""
        try:
            await self._client.delete(name)
        except Refused as refused:
            if refused.problem.status != 404:
                raise


def endpoint(http: str, url: str) -> Endpoint:
    """Return where to connect for a service, and the Host to ask for."""
    address = urlsplit(f"//{http}")
    host, port = address.hostname or "", address.port or 80
    return Endpoint(EVERYWHERE.get(host, host), port, urlsplit(url).netloc)
