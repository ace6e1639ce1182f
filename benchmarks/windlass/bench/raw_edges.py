"""Random lives of instances as raw edges, and what they come to by a recomputation from scratch.

The recomputation shares no code with the meter: it sorts edges, sweeps over them, and rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windlass.billing.rows import Amounts
from windlass.model.instance import Instance, State
from windlass.model.service import Mode

if TYPE_CHECKING:
    import random

SECOND = 1_000_000_000  # ns
MILLISECOND = 1_000_000
Stretch = tuple[int, int]


@dataclass(slots=True)
class RawLife:
    """One instance: its moments, and what was in flight there through each worker."""

    instance: Instance
    mode: Mode
    busy: dict[str, list[Stretch]] = field(default_factory=dict)  # worker -> disjoint, in order

    @property
    def edges(self) -> int:
        """How many edges there are: of its life, and of what was in flight."""
        known = self.instance
        moments = (known.started, known.ready, known.stopping, known.ended)
        stretches = sum(map(len, self.busy.values()))
        return 2 * stretches + sum(moment is not None for moment in moments)


def draw(
    chance: random.Random, name: str, revision: str, mode: Mode, begin: int, end: int, workers: int
) -> RawLife:
    """Draw a life within [begin, end) that so many workers send requests to."""
    started, ready, stopping, ended = sorted(chance.sample(range(begin, end), 4))
    kind = chance.choice(("stopped", "stopped", "failed", "never ready"))
    instance = Instance(
        id=name,
        revision=revision,
        service="shop",
        state=State.STOPPED if kind == "stopped" else State.FAILED,
        started=started,
        ready=None if kind == "never ready" else ready,
        stopping=stopping if kind == "stopped" else None,
        ended=ended,
    )
    life = RawLife(instance, mode)
    if kind != "never ready":
        for number in range(workers):
            life.busy[f"worker-{number}.a"] = _stretches(chance, ready, ended)
    return life


def recomputed(life: RawLife) -> Amounts:
    """Return what the edges come to."""
    known = life.instance
    assert known.ended is not None
    if known.ready is None:
        billable, busy, start_end = [(known.started, known.ended)], 0, known.ended
    else:
        start_end, stopping = known.ready, known.stopping or known.ended
        inside = _swept(life, known.ready, stopping)
        busy = sum(end - begin for begin, end in inside)
        billable = [(known.started, known.ready), *inside, (stopping, known.ended)]
    shutdown = known.ended - known.stopping if known.stopping and known.ready else 0
    startup, lived = start_end - known.started, known.ended - known.started
    lengths = _joined(billable)
    requests = [end - begin for found in life.busy.values() for begin, end in found]
    milliseconds = sum(-(-length // MILLISECOND) for length in requests)
    if life.mode is Mode.LAMBDA:
        milliseconds += _start(life, startup)
    return Amounts(
        startup=startup,
        busy=busy,
        idle=lived - startup - busy - shutdown,
        shutdown=shutdown,
        rounding_100ms=sum(-length % (100 * MILLISECOND) for length in lengths),
        rounding_1s=sum(-length % SECOND for length in lengths),
        requests=len(requests),
        invocation_milliseconds=milliseconds,
    )


def _stretches(chance: random.Random, begin: int, end: int) -> list[Stretch]:
    """Draw disjoint stretches; now and then one begins where the one before ended."""
    many = min(chance.randint(0, 60), (end - begin) // 4)
    edges = sorted(chance.sample(range(begin, end), 2 * many))
    found = list(zip(edges[::2], edges[1::2], strict=True))
    for at in range(1, len(found)):
        if chance.random() < 0.1:
            found[at] = (found[at - 1][1], found[at][1])
    return found


def _swept(life: RawLife, first: int, last: int) -> list[Stretch]:
    """Return the stretches of [first, last) in which anything was in flight."""
    edges = []
    for found in life.busy.values():
        for begin, end in found:
            begin, end = max(begin, first), min(end, last)
            if begin < end:
                edges += [(begin, 0), (end, 1)]  # what begins as another ends goes on
    swept, depth, since = [], 0, 0
    for moment, ends in sorted(edges):
        if not ends:
            since = moment if depth == 0 else since
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                swept.append((since, moment))
    return swept


def _joined(stretches: list[Stretch]) -> list[int]:
    """Return the lengths of billable stretches, those that touch as one."""
    lengths: list[int] = []
    reached = -1
    for begin, end in stretches:
        if begin == end:
            continue
        if begin == reached:
            lengths[-1] += end - begin
        else:
            lengths.append(end - begin)
        reached = end
    return lengths


def _start(life: RawLife, startup: int) -> int:
    """Return the milliseconds that the start adds: to the first request that ended, or alone."""
    [found] = list(life.busy.values()) or [[]]
    first = found[0][1] - found[0][0] if found else 0
    return -(-(startup + first) // MILLISECOND) - -(-first // MILLISECOND)
