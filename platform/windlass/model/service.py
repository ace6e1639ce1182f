"""Services and revisions: what a user deploys, in the words of Cloud Run and Knative."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from windlass.model.budget import Budget

MIB = 1024**2
GIB = 1024**3


class Mode(StrEnum):
    """How many requests an instance serves at once, and so how it is billed."""

    CLOUDRUN = "cloudrun"
    LAMBDA = "lambda"


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A check of an instance; seconds throughout, as in Kubernetes' probes."""

    kind: Literal["tcp", "http", "grpc"] = "tcp"
    port: int | None = None  # None: the container's port
    path: str = "/"  # http only
    headers: tuple[tuple[str, str], ...] = ()  # http only
    grpc_service: str = ""  # grpc only
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    failure_threshold: int = 3


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """What runs: an image, or a command line of this machine (`exec`) for the process runtime."""

    image: str = ""
    exec: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  # replaces the image's ENTRYPOINT
    args: tuple[str, ...] = ()  # replaces the image's CMD
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: int | None = None  # runAsUser; None: the image's own
    read_only_root: bool = False  # nothing but /tmp can be written
    port: int = 8080
    protocol: Literal["http1", "h2c"] = "http1"
    startup_probe: Probe | None = None  # None: tcp on the port, for `startup_timeout`
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance may use and serve."""

    concurrency: int = 80  # requests in flight in one instance, 1..1000; lambda mode: 1
    milli_cpu: int = 1000  # thousandths of a vCPU, exact for billing
    memory: int = 512 * MIB  # bytes
    timeout: float = 300.0  # seconds a request may take, at most 3600
    startup_timeout: float = 240.0  # seconds until the port must listen
    cpu_throttling: bool = True  # no CPU while no request is served, and priced so
    cpu_boost: bool = True  # more CPU until it is ready


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How a revision is scaled. Knative's names and defaults; seconds throughout."""

    min_instances: int = 0
    max_instances: int = 100
    target: float | None = None  # in-flight to aim at per instance; None: concurrency
    target_utilization: float = 0.7  # part of the target that is aimed at
    stable_window: float = 60.0
    panic_window: float = 6.0
    panic_threshold: float = 2.0  # panic when wanted >= threshold x ready
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay: float = 0.0
    scale_to_zero_grace: float = 30.0
    standby: int = 1  # containers made ahead and not started, where the runtime can


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """All of a revision that the user chooses."""

    container: Container
    limits: Limits = Limits()
    scaling: Scaling = Scaling()
    mode: Mode = Mode.CLOUDRUN
    labels: tuple[tuple[str, str], ...] = ()
    session_affinity: bool = False  # a client's requests to the same instance, best effort
    budget: Budget | None = None  # of the whole service, while this is its latest ready revision

    @property
    def slots(self) -> int:
        """How many requests one instance serves at once."""
        return 1 if self.mode is Mode.LAMBDA else self.limits.concurrency


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version of a service."""

    name: str  # SERVICE-00001, unique on the platform
    service: str
    number: int
    created: float  # Unix seconds
    template: Template
    image_digest: str = ""  # what the image's name meant at its deployment; empty: nobody kept it


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a service's traffic. `revision` None: the latest ready one."""

    revision: str | None = None
    percent: int = 100
    tag: str = ""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What a user deploys and calls by name."""

    name: str
    created: float  # Unix seconds
    labels: tuple[tuple[str, str], ...] = ()
    traffic: tuple[Target, ...] = (Target(),)  # percents add up to 100
    latest_created: str = ""  # revision names; empty: none yet
    latest_ready: str = ""
    generation: int = 0  # revisions ever made
