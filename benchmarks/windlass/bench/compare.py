"""The same image in both modes under the same load: what it is asked, what it yields, and the run.

It knows no platform: a `Target` deploys, meters and deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

from windlass.model.service import MIB, Mode

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What runs and the load on it; seconds throughout."""

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


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the platform metered of one service since it was deployed, and runs of it now."""

    cold_starts: int
    peak_instances: int
    billed_instance_seconds: Decimal
    cost: Decimal  # USD, with the price book of the service's mode
    request_fees: Decimal = Decimal(0)  # the part of `cost` that is charged per request
    instances_now: int = 0


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
    elapsed: float = 0.0  # seconds of the load so far
    duration: float = 0.0
    rate: float = 0.0  # requests per second, lately
    in_flight: int = 0
    requests: int = 0
    errors: int = 0
    p50: float | None = None  # seconds, lately
    p99: float | None = None
    instances: int | None = None  # None: not known, as for an endpoint of others


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """One column of the comparison. What the platform metered is None for an endpoint of others."""

    requests: int
    errors: int
    errors_by_reason: dict[str, int]
    p50: float  # seconds from the moment a request was to be sent, as the next three
    p95: float
    p99: float
    max: float
    service_time: float  # mean seconds from the moment a request was sent to its whole answer
    observed: Observed | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out, as `windlass.bench.report` writes it and `windlass.bench.show` shows it."""

    settings: Settings
    cloudrun: ModeResult
    lambda_: ModeResult
    against: ModeResult | None = None


async def compare(
    settings: Settings, target: Target, progress: Callable[[Progress], None]
) -> Comparison:
    """Load the same image in both modes, one after the other, and return what each took and cost.

    Raises:
        ValueError: the settings contradict one another.
    """
    raise NotImplementedError
