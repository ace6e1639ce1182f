"""What the meter hands to the ledger: additive rows, and the state to go on from after a crash."""

from __future__ import annotations

from operator import add, sub

import msgspec

from windlass.billing.minutes import WallClock
from windlass.billing.slices import Life, Stretch
from windlass.model.service import Mode


class Amounts(msgspec.Struct, frozen=True, array_like=True):
    """Integers that add up: nanoseconds where nothing else is said. A correction is negative."""

    startup: int = 0
    busy: int = 0
    idle: int = 0
    shutdown: int = 0
    warm: int = 0  # the part of idle in which the instance was held by min_instances
    rounding_100ms: int = 0  # added where each billable slice is rounded up to 100 ms
    rounding_1s: int = 0  # the same with whole seconds
    requests: int = 0
    invocation_milliseconds: int = 0  # each request's duration rounded up to 1 ms, with init
    held: int = 0  # busy or idle while min_instances held the instance
    rounding_5min: int = 0  # added where the time it was held is rounded up to five minutes
    held_milliseconds: int = 0  # the part of invocation_milliseconds in which it was held

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*map(add, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(*map(sub, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))


class RevisionAmounts(msgspec.Struct, frozen=True):
    """Integers that add up, of a revision's requests together."""

    packed: int = 0  # ns of instances that shared requests would have kept busy
    cold_starts: int = 0

    def __add__(self, other: RevisionAmounts) -> RevisionAmounts:
        return RevisionAmounts(self.packed + other.packed, self.cold_starts + other.cold_starts)


class InstanceFacts(msgspec.Struct, frozen=True):
    """An instance in the ledger; moments in Unix nanoseconds."""

    id: str
    revision: str
    begun: int
    ended: int | None = None


class RevisionFacts(msgspec.Struct, frozen=True):
    """A revision in the ledger: all of it that prices depend on."""

    name: str
    service: str
    mode: Mode
    milli_cpu: int
    memory: int  # bytes
    labels: tuple[tuple[str, str], ...] = ()


class AccountState(msgspec.Struct, kw_only=True):
    """Where the metering of one instance stands. What lies before `settled` is final."""

    id: str
    revision: str
    mode: Mode
    life: Life
    settled: int
    carried: int = 0  # ns that the billable stretch which reaches `settled` had lasted by then
    warm_since: int | None = None  # held by min_instances from this moment on
    invoked: bool = False
    busy: list[Stretch] = []  # after `settled`, disjoint, in order
    open: dict[str, int] = {}  # worker -> begin of its stretch that goes on
    booked: dict[int, Amounts] = {}  # minute -> what rows have said of [settled, ...)


class Mark(msgspec.Struct, frozen=True):
    """A worker's reports up to `sequence`, which ends at the moment `end`, are in the ledger."""

    sequence: int
    end: int


class Gap(msgspec.Struct, frozen=True):
    """What a worker did between two moments, in Unix nanoseconds, that is not in the ledger."""

    worker: str  # empty: all of them, the machine was started anew
    begin: int  # up to which all of its reports were heard
    end: int  # at which it was found to be gone


class Batch(msgspec.Struct, kw_only=True):
    """All that one flush writes, in one transaction."""

    flushed: int  # moment
    clock: WallClock
    instance_minutes: dict[tuple[str, int], Amounts]
    revision_minutes: dict[tuple[str, int], RevisionAmounts]
    instances: dict[str, InstanceFacts]
    revisions: dict[str, RevisionFacts]
    marks: dict[str, Mark | None]  # None: the worker is gone
    states: dict[str, bytes | None]  # as `encode` has it; None: nothing more is to be kept
    gaps: list[Gap] = []

    def absorb(self, later: Batch) -> None:
        """Become both batches in one: a later one that follows one not yet written."""
        self.flushed, self.clock = later.flushed, later.clock
        for key, amounts in later.instance_minutes.items():
            self.instance_minutes[key] = self.instance_minutes.get(key, Amounts()) + amounts
        for place, counts in later.revision_minutes.items():
            known = self.revision_minutes.get(place, RevisionAmounts())
            self.revision_minutes[place] = known + counts
        self.instances |= later.instances
        self.revisions |= later.revisions
        self.marks |= later.marks
        self.states |= later.states
        self.gaps += later.gaps


class Saved(msgspec.Struct, kw_only=True):
    """What an earlier run left: where a meter goes on."""

    flushed: int
    clock: WallClock
    marks: dict[str, Mark]
    states: list[AccountState]
    rebooted: bool  # the machine was started anew since: its moments mean nothing now


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AccountState)


def encode(state: AccountState) -> bytes:
    """Return the state as it is now, for the ledger."""
    return _encoder.encode(state)


def decode(state: bytes) -> AccountState:
    """Return a state of the ledger."""
    return _decoder.decode(state)
