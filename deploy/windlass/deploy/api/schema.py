"""What the admin API's answers and requests carry: stable names, plain values.

Moments are Unix seconds, memory bytes, cpu thousandths of a vCPU; money and metered quantities are
exact decimals, written as JSON strings. Nothing here knows how the values come about.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from windlass.deploy.violation import Violation
from windlass.model.instance import Exit, State
from windlass.model.service import Mode, Target, Template


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as RFC 9457 has it, with the wrong fields and the container's last words."""

    type: str = "about:blank"  # urn:windlass:problem:NAME where there is a name for it
    title: str
    status: int
    detail: str = ""  # the fact, and the next step for the user
    errors: tuple[Violation, ...] = ()
    log_lines: tuple[str, ...] = ()  # the last lines of the instance that did not come up


class TrafficView(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a service's traffic, with `latest` resolved."""

    revision: str
    percent: int
    tag: str = ""
    latest: bool = False  # follows the latest ready revision
    url: str = ""  # of the tag


class RevisionView(msgspec.Struct, frozen=True, kw_only=True):
    """One revision and the number of its instances by state."""

    name: str
    service: str
    created: float
    ready: bool  # has passed its health check or served
    reason: str = ""  # why it is not ready
    template: Template
    image_digest: str = ""  # of what its image's name meant at its deployment; empty: not known
    instances: dict[State, int] = {}


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """One service, its newest revision first."""

    name: str
    url: str
    created: float
    ready: bool
    reason: str = ""  # why it is not ready
    labels: dict[str, str] = {}
    latest_created: str = ""
    latest_ready: str = ""
    traffic: tuple[TrafficView, ...] = ()
    revisions: tuple[RevisionView, ...] = ()


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    """One instance, also one that ended a short while ago."""

    id: str
    service: str
    revision: str
    state: State
    frozen: bool = False  # ready, and without CPU until a request comes
    address: str = ""  # host:port as seen from this machine
    in_flight: int = 0
    requests: int = 0
    started: float
    launched: float | None = None  # its process was let run
    deaf: float | None = None  # a probe last found that it takes no requests
    ready: float | None = None
    ended: float | None = None
    reason: str = ""  # why it was started, or why it failed
    exit: Exit | None = None


class StandbyView(msgspec.Struct, frozen=True, kw_only=True):
    """A container that is made and not started: the next instance, which costs nothing yet."""

    id: str
    service: str
    revision: str
    state: Literal["standby"] = "standby"
    made: float


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a service."""

    time: float
    level: Literal["info", "warning"] = "info"
    kind: str  # one word: Deployed, InstanceReady, StartFailed
    service: str
    revision: str = ""
    instance: str = ""
    message: str = ""


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """What the autoscaler decided for a revision, what it saw, and why."""

    time: float
    revision: str
    desired: int
    reason: str
    ready: int = 0
    starting: int = 0
    in_flight: int = 0
    queued: int = 0
    stable_average: float | None = None  # requests over the stable window
    panic_average: float | None = None  # requests over the panic window
    panicking: bool = False


class LogLineView(msgspec.Struct, frozen=True, kw_only=True):
    """One line that an instance wrote."""

    time: float
    revision: str
    instance: str
    stream: Literal["stdout", "stderr"]
    text: str  # the whole line
    severity: str = ""  # these three: what a line of JSON says of itself
    message: str = ""
    trace: str = ""


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """What was metered, whatever it may cost."""

    requests: int = 0
    cold_starts: int = 0
    peak_instances: int = 0
    instance_seconds: Decimal = Decimal(0)  # whole lives: the sum of the four below
    startup_seconds: Decimal = Decimal(0)
    busy_seconds: Decimal = Decimal(0)
    idle_seconds: Decimal = Decimal(0)
    shutdown_seconds: Decimal = Decimal(0)


class BillTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How a bill is written."""

    free_tier: bool = False  # take off what is free each month
    rounding: Literal["per_slice", "per_instance", "none"] | None = None  # None: the book's own


class BillLineView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a bill: quantity times unit price."""

    item: str  # cpu, memory, requests
    quantity: Decimal
    unit: str  # vCPU-second, GiB-second, request
    unit_price: Decimal
    amount: Decimal  # in the book's currency


class BookBillView(msgspec.Struct, frozen=True, kw_only=True):
    """The same usage priced with one book."""

    book: str
    title: str
    mode: str  # the mode that the book prices: cloudrun or lambda
    actual: bool  # the mode that the service ran in; False: what the other would have cost
    billed_instance_seconds: Decimal
    lines: tuple[BillLineView, ...]
    total: Decimal
    rounding: Decimal = Decimal(0)  # part of the total that is there for rounding up
    rounding_is_most: bool = False  # it is at most that
    per_million_requests: Decimal | None = None  # None: no request yet
    currency: str = "USD"
    assumptions: tuple[str, ...] = ()  # sentences
    unconfirmed: tuple[str, ...] = ()  # what no source confirms


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """How a service's budget stands in its present period [since, until)."""

    service: str
    amount: Decimal
    spent: Decimal
    currency: str
    period: str  # hour, day, month
    action: str  # warn, cap
    since: int  # Unix seconds
    until: int
    sentence: str  # the same in words


class GapView(msgspec.Struct, frozen=True, kw_only=True):
    """What a router worker did from `begin` to `end`, in Unix seconds, that nobody knows."""

    worker: str  # empty: all of them, the machine was started anew
    begin: float
    end: float


class BillView(msgspec.Struct, frozen=True, kw_only=True):
    """A service's bill, or everybody's where `service` is empty."""

    service: str = ""
    since: float
    until: float
    usage: UsageView
    books: tuple[BookBillView, ...]  # the first actual one is what the service is said to cost
    budgets: tuple[BudgetView, ...] = ()
    gaps: tuple[GapView, ...] = ()  # what is not counted, of all services


class TermView(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one kind that is paid for."""

    kind: str  # startup, busy, idle, shutdown, warm, rounding, invocations, shared
    rate: Literal["active", "idle", "held", "free"]
    seconds: Decimal


class ShareView(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a bill; all of them add up to its total. What is empty is of no one: the whole's.

    Its price is that of the first tier; what volume and free tiers take off is a share of its own.
    """

    origin: Literal["use", "rounding", "period", "tiers"]
    begin: float
    end: float
    service: str = ""
    revision: str = ""
    instance: str = ""
    labels: dict[str, str] = {}
    requests: int = 0
    billed_seconds: Decimal = Decimal(0)
    terms: tuple[TermView, ...] = ()  # of which the billed seconds are made
    charges: tuple[BillLineView, ...] = ()
    amount: Decimal = Decimal(0)


class SharesView(msgspec.Struct, frozen=True, kw_only=True):
    """A bill in one book, taken apart."""

    book: str
    title: str
    currency: str
    shares: tuple[ShareView, ...]


class BookView(msgspec.Struct, frozen=True, kw_only=True):
    """A price book that bills can be written with."""

    name: str
    title: str
    mode: str
    source: str
    date: str  # on which the prices were read, ISO 8601


class OverviewView(msgspec.Struct, frozen=True, kw_only=True):
    """How one service does at this moment; what is counted is counted since the platform started.

    Cheap to make: it is asked for every other second, for all services at once.
    """

    name: str
    url: str
    ready: bool
    reason: str = ""  # why it is not ready
    mode: Mode  # of the latest ready revision
    instances: dict[State, int] = {}  # those that live
    in_flight: int = 0  # requests, now
    queued: int = 0  # requests, now
    requests: int = 0  # answered
    errors: int = 0  # of them with a status of 500 or above
    cold_starts: int = 0
    latency: tuple[tuple[float | None, int], ...] = ()  # bucket's upper bound in s (None: open)


class CostView(msgspec.Struct, frozen=True, kw_only=True):
    """What a service cost in a stretch of time, beside what the other mode would have cost."""

    service: str
    requests: int
    book: str  # title of the book that is charged
    total: Decimal
    per_million_requests: Decimal | None = None
    other_book: str  # title of the other mode's
    other_total: Decimal
    other_per_million_requests: Decimal | None = None
    currency: str = "USD"


class NowView(msgspec.Struct, frozen=True, kw_only=True):
    """How one service does now, and did in the last minute and hour."""

    service: OverviewView
    requests_per_second: float | None = None  # of the last minute; None: not known yet
    p50: float | None = None  # seconds, of the last minute's requests
    p99: float | None = None
    cost: CostView | None = None  # of the last hour; None: nothing was metered


class SliceView(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of an instance's life, and the rate at which the mode's own book bills it."""

    kind: Literal["startup", "busy", "idle", "frozen", "shutdown"]  # frozen: idle without CPU
    begin: float
    end: float
    rate: Literal["active", "idle", "held", "free"]


class TimelineView(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance did lately. Idle pauses shorter than `resolution` may be shown as busy."""

    instance: str
    revision: str
    slices: tuple[SliceView, ...]
    resolution: float = 0.0  # seconds; 0: exact


class ReloadView(msgspec.Struct, frozen=True, kw_only=True):
    """The router workers that serve since a reload."""

    workers: tuple[str, ...]


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """The platform itself."""

    version: str
    runtime: str
    http: str  # host:port where services are called
    domains: tuple[str, ...]
    workers: int
    started: float
    state: str  # directory
    pid: int


class DeployRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new revision of a service, which is made where there is none."""

    name: str
    template: Template
    labels: dict[str, str] = {}
    traffic: bool = True  # False: what served goes on serving
    health_check: bool = True  # start one instance and see it listen


class TrafficRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a service's requests go from now on."""

    traffic: tuple[Target, ...]


# A deploy's progress, one JSON object per line; the last is Done or Failed.


class Step(msgspec.Struct, frozen=True, tag="step", tag_field="kind"):
    """A new step begins; the one before is done."""

    message: str  # Pulling nginx:1.27


class Notice(msgspec.Struct, frozen=True, tag="notice", tag_field="kind"):
    """Something the user should know, such as a field that has no effect here."""

    message: str


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", tag_field="kind"):
    """The step goes on; sent by the API server so that no proxy or client gives up."""


class Done(msgspec.Struct, frozen=True, tag="done", tag_field="kind"):
    """It worked."""

    service: ServiceView


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="kind"):
    """It did not; what served before goes on serving."""

    problem: Problem


Progress = Step | Notice | Heartbeat | Done | Failed
