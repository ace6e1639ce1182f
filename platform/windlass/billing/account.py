"""Books one instance's slices to minutes of UTC, and corrects itself as facts come in late.

What is booked is the difference between what the facts known now say and what was booked before,
so that the sum of all rows depends on the facts alone, not on when they were flushed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.billing.rows import AccountState, Amounts
from windlass.billing.slices import Kind, Slice, slices, union
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.billing.minutes import WallClock
    from windlass.billing.slices import Stretch

MILLISECOND = 1_000_000  # ns
GRAINS = (100 * MILLISECOND, 1000 * MILLISECOND)  # of rounding_100ms and rounding_1s
_NEVER = 1 << 63


def take(state: AccountState, worker: str, busy: Sequence[Stretch], busy_since: int | None) -> int:
    """Take what a worker reports of the instance.

    Returns:
        Nanoseconds, at most, that came too late: they lie in what is settled and are not billed.
    """
    known = state.open.pop(worker, None)
    begun = [*busy, (busy_since, _NEVER)] if busy_since is not None else list(busy)
    late = sum(max(0, min(end, state.settled) - begin) for begin, end in begun if begin != known)
    state.busy = union([*state.busy, *busy], state.settled, _NEVER)
    if busy_since is not None:
        state.open[worker] = busy_since
    return late


def abandon(state: AccountState, worker: str, moment: int) -> None:
    """End what a worker had in flight: it is gone, and was last heard of at `moment`."""
    since = state.open.pop(worker, None)
    if since is not None:
        state.busy = union([*state.busy, (since, moment)], state.settled, _NEVER)


def book(state: AccountState, until: int, clock: WallClock) -> dict[int, Amounts]:
    """Return, by minute, what the facts up to `until` add to what was booked before."""
    wanted = _tally(state, until, clock)
    nothing = Amounts()
    changes = {
        minute: wanted.get(minute, nothing) - state.booked.get(minute, nothing)
        for minute in wanted.keys() | state.booked.keys()
    }
    state.booked = wanted
    return {minute: change for minute, change in changes.items() if change != nothing}


def settle(state: AccountState, moment: int, until: int, clock: WallClock) -> None:
    """Make what lies before `moment` final and forget its details; `until`: as booked last."""
    moment = min(moment, until if state.life.ended is None else state.life.ended)
    if moment <= state.settled:
        return
    state.carried = _lasting(_window(state, moment), state.settled, state.carried)
    state.settled = moment
    state.busy = union(state.busy, moment, _NEVER)
    state.booked = _tally(state, until, clock)


def _window(state: AccountState, until: int) -> list[Slice]:
    """Return the slices of [settled, until)."""
    known = [*state.busy, *((since, until) for since in state.open.values())]
    return [
        Slice(cut.kind, max(cut.begin, state.settled), cut.end)
        for cut in slices(state.life, known, until)
        if cut.end > state.settled
    ]


def _lasting(window: Sequence[Slice], settled: int, carried: int) -> int:
    """Return how long the billable stretch has lasted that reaches the window's end."""
    begin = None
    for cut in reversed(window):
        if cut.kind is Kind.IDLE:
            break
        begin = cut.begin
    if begin is None:
        return 0
    return window[-1].end - begin + (carried if begin == settled else 0)


def _tally(state: AccountState, until: int, clock: WallClock) -> dict[int, Amounts]:
    tally: dict[int, Amounts] = {}

    def add(minute: int, amounts: Amounts) -> None:
        tally[minute] = tally.get(minute, Amounts()) + amounts

    window = _window(state, until)
    for cut in window:
        for minute, length in clock.split(cut.begin, cut.end):
            add(minute, Amounts(**{cut.kind: length}))
        if cut.kind is Kind.IDLE and state.warm_since is not None:
            for minute, length in clock.split(max(cut.begin, state.warm_since), cut.end):
                add(minute, Amounts(warm=length))
    ended = state.life.ended is not None and state.life.ended <= until
    for end, length in _closed(window, state, ended):
        excess = [-length % grain for grain in GRAINS]
        add(clock.minute(end - 1), Amounts(rounding_100ms=excess[0], rounding_1s=excess[1]))
    if ended and state.mode is Mode.LAMBDA and not state.invoked:
        minute, milliseconds = _unused_start(state, clock)
        add(minute, Amounts(invocation_milliseconds=milliseconds))
    return tally


def _closed(window: Sequence[Slice], state: AccountState, ended: bool) -> list[Stretch]:
    """Return (end, length) of each billable stretch that ended at `settled` or after it.

    Startup, busy and shutdown slices that touch are one stretch: it is rounded once.
    """
    found = []
    end, length = state.settled, state.carried
    for cut in window:
        if cut.kind is not Kind.IDLE:
            end, length = cut.end, length + cut.end - cut.begin
        elif length:
            found.append((end, length))
            length = 0
    if ended and length:
        found.append((end, length))
    return found


def _unused_start(state: AccountState, clock: WallClock) -> tuple[int, int]:
    """Return the minute and the milliseconds of a start that no invocation paid for."""
    life = state.life
    assert life.ended is not None
    ready = next(m for m in (life.ready, life.stopping, life.ended) if m is not None)
    minute = clock.minute(max(life.started, life.ended - 1))
    return minute, -(-(ready - life.started) // MILLISECOND)
