"""How many instances a revision should have, and why: a pure function of what was seen.

Two paths, the larger answer wins: at once, for requests that wait and that no promised slot will
serve; over time, Knative's arithmetic on averages (pkg/autoscaler/scaling/autoscaler.go). Which
instances start or drain is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, floor, inf
from typing import TYPE_CHECKING

from windlass.model.service import Mode

if TYPE_CHECKING:
    from windlass.model.service import Scaling, Template

# Averages are looked at no more often than this (Knative's tick is 2 s), so that the rates of
# scaling are per tick and not per event; what cannot wait goes the at-once path.
AVERAGES_EVERY = 1.0


class Kind(StrEnum):
    """Which rule decided."""

    NOTHING = "nothing"  # no request: zero
    STARVED = "starved"  # requests wait without a slot free or promised
    BUSY = "busy"  # requests under way need what there is
    STABLE = "stable"  # average over the stable window
    PANIC = "panic"  # average over the panic window, or held since
    SLOWED = "slowed"  # fewer are needed, but not so many may go at once
    DELAYED = "delayed"  # fewer are needed, scale_down_delay is not over
    KEPT = "kept"  # idle, not yet for long enough
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    CHECKED = "checked"  # a deployment waits for an instance
    REFUSED = "refused"  # there may be no instance now, whatever waits
    UNREACHABLE = "unreachable"  # no traffic and no tag leads here


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of a revision now; moments and spans in seconds."""

    now: float
    ready: int = 0
    starting: int = 0
    in_flight: int = 0
    queued: int = 0
    stable: float = 0.0  # average of in flight + queued over the stable window
    panic: float = 0.0  # the same over the panic window
    last_demand: float | None = None  # last request, or instance made ready; None: never
    reachable: bool = True
    checking: bool = False
    refused: str = ""  # why there may be no instance now; empty: there may


Peaks = tuple[tuple[float, int], ...]  # (moment, value), values falling


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one decision leaves for the next of the same revision."""

    averaged: float = -inf  # moment the averages were last looked at
    panic_since: float | None = None  # None: not in panic
    panic_peak: int = 0  # in panic never fewer than this
    wanted: Claim | None = None  # what the averages said then
    peaks: Peaks = ()  # cloudrun: wanted, within scale_down_delay; lambda: demand, within idleness


@dataclass(frozen=True, slots=True)
class Claim:
    """A number of instances that one rule asks for."""

    count: int
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """How many instances there should be, and why in words with the numbers."""

    desired: int
    kind: Kind
    reason: str
    memory: Memory


NOTHING = Claim(0, Kind.NOTHING, "no request and none lately: zero instances")


def taking_over(ready: int, now: float) -> Memory:
    """Return the memory of one that finds instances running: none goes before it has seen why.

    Knative's new autoscaler starts in panic for the same reason.
    """
    return Memory(panic_since=now, panic_peak=ready, peaks=((now, ready),))


def decide(template: Template, seen: Observation, memory: Memory) -> Decision:
    """Return how many instances are wanted of a revision with this template.

    Starting instances count as capacity: their slots are promised.
    """
    at_once = _at_once(template, seen)
    if template.mode is Mode.LAMBDA:
        over_time, memory = _environments(template.scaling, seen, memory)
    else:
        memory = _remember_surge(at_once, seen, memory)
        over_time, memory = _averages(template, seen, memory)
    # Ties go to the first: the averages explain most, but not a start for those who wait.
    rules: tuple[Claim, ...] = (NOTHING, over_time, at_once, _idle(template.scaling, seen))
    if at_once.kind is Kind.STARVED:
        rules = (at_once, *rules)
    claim = max(rules, key=lambda rule: rule.count)
    if not seen.reachable:
        claim = _unreachable(at_once, seen)
    claim = _bounded(template.scaling, seen, claim)
    if seen.refused:
        # A deployment is still checked: it may bring what ends the refusal.
        claim = Claim(int(seen.checking), Kind.REFUSED, seen.refused)
    return Decision(claim.count, claim.kind, claim.reason, memory)


def _at_once(template: Template, seen: Observation) -> Claim:
    """Return what the requests of this moment need, whatever the averages say."""
    concurrency = template.slots
    current = seen.ready + seen.starting
    # Two views of the waiting requests that get no slot. The first is right when a queue was seen
    # before an instance became ready, the second when requests are in flight on draining ones.
    missing = min(
        seen.in_flight + seen.queued - current * concurrency,
        seen.queued - seen.starting * concurrency,
    )
    if missing > 0:
        more = ceil(missing / concurrency)
        return Claim(
            current + more,
            Kind.STARVED,
            f"{seen.queued} waiting and {seen.in_flight} in flight on {seen.ready} ready and "
            f"{seen.starting} starting, {missing} without a slot: {more} more of concurrency "
            f"{concurrency}",
        )
    needed = min(current, ceil((seen.in_flight + seen.queued) / concurrency))
    return Claim(
        needed,
        Kind.BUSY,
        f"{seen.in_flight} in flight and {seen.queued} waiting need {needed} of concurrency "
        f"{concurrency}",
    )


def _remember_surge(at_once: Claim, seen: Observation, memory: Memory) -> Memory:
    """Panic when requests had to wait for more than a first instance: what was started stays.

    A later surge that needs as many again prolongs it, or regular spikes that the averages hide
    would meet a cold start each minute.
    """
    starved = at_once.kind is Kind.STARVED and at_once.count > 1
    again = memory.panic_since is not None and at_once.count >= memory.panic_peak
    if not (starved or again):
        return memory
    peak = max(memory.panic_peak, at_once.count)
    return replace(memory, panic_since=seen.now, panic_peak=peak)


def _averages(template: Template, seen: Observation, memory: Memory) -> tuple[Claim, Memory]:
    """Return what Knative's Scale() asks for, and the memory of it."""
    scaling = template.scaling
    if memory.wanted and 0 <= seen.now - memory.averaged < AVERAGES_EVERY:
        return _held_in_panic(scaling, memory.wanted, memory), memory
    stable, panic, over = _wanted(template, seen)
    memory = _panic(scaling, seen, memory, over=over)
    claim = stable
    if memory.panic_since is not None:
        claim = max(stable, panic, key=lambda c: c.count)
        memory = replace(memory, panic_peak=max(memory.panic_peak, claim.count))
    if scaling.scale_down_delay:
        peaks, highest = highest_within(
            memory.peaks, seen.now, claim.count, scaling.scale_down_delay
        )
        memory = replace(memory, peaks=peaks)
        if highest > claim.count:
            claim = Claim(
                highest,
                Kind.DELAYED,
                f"{highest} were wanted in the last {scaling.scale_down_delay:g} s "
                f"(scale-down delay); now {claim.reason}",
            )
    memory = replace(memory, averaged=seen.now, wanted=claim)
    return _held_in_panic(scaling, claim, memory), memory


def _wanted(template: Template, seen: Observation) -> tuple[Claim, Claim, bool]:
    """Return what the stable and the panic window ask for, and whether it is time to panic."""
    scaling, concurrency = template.scaling, template.limits.concurrency
    aim = min(scaling.target or concurrency, concurrency)
    target = max(0.01, aim * scaling.target_utilization)
    ready = max(1, seen.ready)
    most = ceil(scaling.max_scale_up_rate * ready)
    least = floor(ready / scaling.max_scale_down_rate) if seen.ready and seen.reachable else 0

    def claim(average: float, window: float, kind: Kind) -> tuple[int, Claim]:
        # Rounded as Knative does, so that 112.0000000001 over 56 is two instances, not three.
        asked = ceil(round(average / target, 6))
        text = f"average of {average:.1f} requests over {window:g} s"
        text += f", target {target:g} per instance ({aim:g} x {scaling.target_utilization:g})"
        if asked > most:
            text += f": {asked}, at most {most} from {ready} ready"
        elif asked < least:
            kind = Kind.SLOWED
            text += f": {asked}, at least {least} from {ready} ready for now"
        count = min(max(asked, least), most)
        return asked, Claim(count, kind, f"{text}: {count}")

    _, stable = claim(seen.stable, scaling.stable_window, Kind.STABLE)
    asked, panic = claim(seen.panic, scaling.panic_window, Kind.PANIC)
    return stable, panic, asked / ready >= scaling.panic_threshold


def _panic(scaling: Scaling, seen: Observation, memory: Memory, *, over: bool) -> Memory:
    if over:
        return replace(memory, panic_since=seen.now)
    since = memory.panic_since
    if since is not None and seen.now - since > scaling.stable_window:
        return replace(memory, panic_since=None, panic_peak=0)
    return memory


def _held_in_panic(scaling: Scaling, claim: Claim, memory: Memory) -> Claim:
    if memory.panic_since is None or memory.panic_peak <= claim.count:
        return claim
    return Claim(
        memory.panic_peak,
        Kind.PANIC,
        f"{memory.panic_peak} since a surge, held for {scaling.stable_window:g} s after it; "
        f"now {claim.reason}",
    )


def _environments(scaling: Scaling, seen: Observation, memory: Memory) -> tuple[Claim, Memory]:
    """Return what lambda mode keeps: as many as were busy at once within the idle period."""
    period = idle_period(scaling)
    demand = min(seen.in_flight + seen.queued, scaling.max_instances)
    peaks, highest = highest_within(memory.peaks, seen.now, demand, period)
    # Keeping never starts: after a burst that outran slow starts, the rest is not made up for.
    kept = min(highest, seen.ready + seen.starting)
    reason = f"at most {highest} requests at once in the last {period:g} s: {kept} kept"
    return Claim(kept, Kind.KEPT, reason), replace(memory, peaks=peaks)


def _idle(scaling: Scaling, seen: Observation) -> Claim:
    """Keep one that is there until the revision is idle for the window and the grace period."""
    if seen.last_demand is None or not (seen.ready or seen.starting):
        return NOTHING
    idle, period = seen.now - seen.last_demand, idle_period(scaling)
    if idle >= period:
        return NOTHING
    return Claim(1, Kind.KEPT, f"idle for {idle:.0f} s: one is kept until {period:g} s")


def _unreachable(at_once: Claim, seen: Observation) -> Claim:
    """Let all go, but not while requests still wait; those in flight are finished in draining."""
    if seen.queued:
        return at_once
    return Claim(0, Kind.UNREACHABLE, "no traffic and no tag leads to this revision: zero")


def _bounded(scaling: Scaling, seen: Observation, claim: Claim) -> Claim:
    least = scaling.min_instances if seen.reachable else 0
    if claim.count < least:
        claim = Claim(least, Kind.MINIMUM, f"min_instances is {least}; {claim.reason}")
    if claim.count < 1 and seen.checking:
        claim = Claim(1, Kind.CHECKED, "a deployment waits for a first instance: one")
    most = max(scaling.max_instances, least)
    if claim.count > most:
        claim = Claim(most, Kind.MAXIMUM, f"max_instances is {most}; {claim.reason}")
    return claim


def idle_period(scaling: Scaling) -> float:
    """Return the seconds without a request after which a revision goes to zero."""
    return scaling.stable_window + scaling.scale_to_zero_grace


def highest_within(peaks: Peaks, now: float, value: int, span: float) -> tuple[Peaks, int]:
    """Return the history with `value` added, and its highest value of the last `span` seconds."""
    kept = [(moment, old) for moment, old in peaks if moment > now - span and old > value]
    kept.append((now, value))
    return tuple(kept), kept[0][1]
