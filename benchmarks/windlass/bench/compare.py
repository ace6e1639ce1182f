"""The same image in both modes under the same load: what it is asked, what it yields, and the run.

It knows no platform: a `Target` deploys, meters and deletes.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from windlass.bench import schedule
from windlass.bench.load import Load, run
from windlass.bench.tally import SECOND
from windlass.model.service import MIB, Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from windlass.bench.tally import LoadResult, Snapshot

_SETTLE_LOOKS = 30  # at the meter, until it counts as still anyway


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What runs and the load on it; seconds throughout."""

    service: str = ""  # whose image or command it is, for people
    image: str = ""
    exec: tuple[str, ...] = ()  # a command line of this machine, instead of the image
    rate: float = 100.0  # requests per second, whether or not answers come
    clients: int | None = None  # instead of a rate: so many clients, each waiting for its answer
    duration: float = 30.0  # of the whole load, the ramp included
    ramp: float = 5.0  # until the rate (or the number of clients) is reached
    path: str = "/"
    timeout: float = 30.0  # until a request without its whole answer is an error
    concurrency: int = 80  # in cloudrun mode
    milli_cpu: int = 1000
    memory: int = 512 * MIB  # bytes
    against: str | None = None  # URL of another endpoint that gets the same load


@dataclass(frozen=True)
class Endpoint:
    """Where a service is called."""

    host: str
    port: int
    host_header: str
    tls: bool = False
    path: str = ""  # empty: the settings' path


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the platform metered of one service since it was deployed, and runs of it now."""

    cold_starts: int
    peak_instances: int
    billed_instance_seconds: Decimal
    cost: Decimal  # USD, with the price book of the service's mode
    request_fees: Decimal = Decimal(0)  # the part of `cost` that is charged per request
    instances_now: int = 0
    starts: tuple[float, ...] = ()  # seconds that each instance took to be ready


class Target(Protocol):
    """A platform that the comparison runs on. Faults are raised as they are and end the run."""

    async def deploy(self, name: str, settings: Settings, mode: Mode) -> Endpoint:
        """Deploy what the settings name, in this mode; return when requests may be sent."""

    async def observe(self, name: str) -> Observed:
        """Say what was metered up to now; asked about once a second under load."""

    async def delete(self, name: str) -> None:
        """Stop and forget the service; no fault if there is none of that name."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the comparison is, said about twice a second while a load runs."""

    subject: str  # cloudrun, lambda, against
    stage: Literal["deploy", "load", "settle", "delete", "done"]
    duration: float = 0.0  # of the load
    load: Snapshot | None = None  # in the stage `load`
    observed: Observed | None = None  # None: not known, as for an endpoint of others
    service: str = ""  # that is deployed for it


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How it stood at one moment of a load."""

    second: float  # since the load's begin
    in_flight: int  # requests that were sent and not answered
    instances: int  # as of the latest look at the meter
    cost: Decimal  # so far, as of the latest look at the meter


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """One column of the comparison; seconds throughout."""

    load: LoadResult
    observed: Observed | None = None  # None: an endpoint that is not ours to meter
    course: tuple[Sample, ...] = ()  # about twice a second

    @property
    def requests(self) -> int:
        """Requests that ended, with or without error."""
        return self.load.requests

    @property
    def errors(self) -> int:
        """Requests without a whole answer in time, or with a status of 400 or above."""
        return self.load.error_count

    @property
    def answered(self) -> int:
        """Requests without error."""
        return self.load.service.count

    @property
    def service_time(self) -> float:
        """Mean time from the moment a request was sent to its whole answer."""
        return self.load.service.mean / SECOND

    @property
    def work_time(self) -> float:
        """Mean time that requests took the server.

        What it says itself in Server-Timing (`app;dur=`), as the example does; else the mean
        service time without as many of the slowest requests as had a cold start.
        """
        if self.load.work.count >= self.answered:
            return self.load.work.mean / SECOND
        cold = self.observed.cold_starts if self.observed else 0
        return self.load.service.mean_without_slowest(cold) / SECOND

    def latency(self, percent: float) -> float:
        """Return a percentile of the time since a request was to be sent."""
        return self.load.latency.percentile(percent) / SECOND


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out; `windlass.bench.report` writes it and `windlass.bench.show` shows it."""

    settings: Settings
    cloudrun: ModeResult
    lambda_: ModeResult
    against: ModeResult | None = None


async def compare(
    settings: Settings,
    target: Target,
    progress: Callable[[Progress], None],
    *,
    settle_interval: float = 1.0,
) -> Comparison:
    """Put the same load on the same image in both modes and return what each took and cost.

    One mode after the other: on one machine, two at once would take each other's CPU. Each service
    is deleted again, whatever happens. `settle_interval`: seconds between looks at the meter.

    Raises:
        ValueError: a setting makes no sense; nothing was deployed.
    """
    check(settings)
    other = _endpoint(settings.against) if settings.against else None
    suffix = secrets.token_hex(2)
    measure = partial(_measure, settings, target, progress, suffix, settle_interval)
    cloudrun = await measure(Mode.CLOUDRUN)
    lambda_ = await measure(Mode.LAMBDA)
    against = None
    if other is not None:
        against = ModeResult(load=await _load(settings, other, "against", progress))
    progress(Progress(subject="", stage="done"))
    return Comparison(settings=settings, cloudrun=cloudrun, lambda_=lambda_, against=against)


def check(settings: Settings) -> None:
    """Check what no platform needs to be asked about.

    Raises:
        ValueError: a setting makes no sense; says which, its value and what is allowed.
    """
    schedule.check(settings.rate, settings.duration, settings.ramp)
    if settings.clients is not None and settings.clients < 1:
        raise ValueError(f"clients must be at least 1, not {settings.clients}")
    if bool(settings.image) == bool(settings.exec):
        raise ValueError("give either an image or a command to run")
    if not re.fullmatch(r"/[!-~]*", settings.path):
        raise ValueError(
            f"path must begin with / and hold no space or non-ASCII character, "
            f"not {settings.path!r}"
        )


async def _measure(
    settings: Settings,
    target: Target,
    progress: Callable[[Progress], None],
    suffix: str,
    settle_interval: float,
    mode: Mode,
) -> ModeResult:
    name = f"compare-{mode}-{suffix}"
    observed: Observed | None = None
    progress(Progress(subject=mode, stage="deploy", service=name))
    try:
        endpoint = await target.deploy(name, settings, mode)
        async with _looking(target, name) as seen:
            load = await _load(settings, endpoint, mode, progress, seen)
        progress(Progress(subject=mode, stage="settle", observed=seen.latest))
        observed = await _settled(target, name, settle_interval)
        seen.end(load, observed)
    finally:
        progress(Progress(subject=mode, stage="delete", observed=observed))
        await target.delete(name)
    return ModeResult(load=load, observed=observed, course=tuple(seen.course))


class _Seen:
    """What the meter said last, and the course of a load with it."""

    def __init__(self) -> None:
        self.latest: Observed | None = None
        self.course: list[Sample] = []

    def note(self, snapshot: Snapshot) -> None:
        if self.latest is not None:
            sample = Sample(
                second=snapshot.elapsed,
                in_flight=snapshot.in_flight,
                instances=self.latest.instances_now,
                cost=self.latest.cost,
            )
            self.course.append(sample)

    def end(self, load: LoadResult, settled: Observed) -> None:
        """Let the course end in what was metered in the end."""
        ended = Sample(
            second=load.elapsed,
            in_flight=0,
            instances=settled.instances_now,
            cost=settled.cost,
        )
        self.course.append(ended)


async def _load(
    settings: Settings,
    endpoint: Endpoint,
    subject: str,
    progress: Callable[[Progress], None],
    seen: _Seen | None = None,
) -> LoadResult:
    def say(snapshot: Snapshot) -> None:
        if seen is not None:
            seen.note(snapshot)
        progress(
            Progress(
                subject=subject,
                stage="load",
                duration=settings.duration,
                load=snapshot,
                observed=seen.latest if seen else None,
            )
        )

    load = Load(
        host=endpoint.host,
        port=endpoint.port,
        host_header=endpoint.host_header,
        tls=endpoint.tls,
        path=endpoint.path or settings.path,
        rate=settings.rate,
        clients=settings.clients,
        duration=settings.duration,
        ramp=settings.ramp,
        timeout=settings.timeout,
        keep_spans=True,
    )
    return await run(load, say)


@asynccontextmanager
async def _looking(target: Target, name: str) -> AsyncIterator[_Seen]:
    """Look at the meter once a second, while the context lasts.

    A fault of the meter meanwhile is raised at the end.
    """
    seen = _Seen()

    async def look() -> None:
        while True:
            seen.latest = await target.observe(name)
            await asyncio.sleep(1)

    looker = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looker.cancel()
        await asyncio.wait([looker])
    if not looker.cancelled():
        looker.result()


async def _settled(target: Target, name: str, interval: float) -> Observed:
    """Return what was metered when it stayed the same for two looks, or after `_SETTLE_LOOKS`."""
    observed, unchanged = await target.observe(name), 0
    for _ in range(_SETTLE_LOOKS):
        await asyncio.sleep(interval)
        before, observed = observed, await target.observe(name)
        same = replace(before, instances_now=0) == replace(observed, instances_now=0)
        unchanged = unchanged + 1 if same else 0
        if unchanged == 2:
            break
    return observed


def _endpoint(url: str) -> Endpoint:
    """Return the endpoint that a URL names.

    Raises:
        ValueError: it is not the URL of an HTTP server.
    """
    refused = ValueError(f"against must be a URL like http://host:port/path, not {url!r}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refused
    tls = parts.scheme == "https"
    try:
        port = parts.port or (443 if tls else 80)
    except ValueError:
        raise refused from None
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return Endpoint(parts.hostname, port, parts.netloc.rpartition("@")[2], tls, path)
