"""Books one instance's slices to minutes of UTC, and corrects itself as facts come in late.

What is booked is the difference between what the facts known now say and what was booked before,
so that the sum of all rows depends on the facts alone, not on when they were flushed.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from windlass.billing.rows import AccountState, Amounts
from windlass.billing.slices import Kind, Slice, slices, union
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.billing.minutes import WallClock
    from windlass.billing.slices import Stretch

MILLISECOND = 1_000_000  # ns
_SHORT, _LONG = 100 * MILLISECOND, 1000 * MILLISECOND  # grains of the two roundings
_FIELDS = Amounts.__struct_fields__
_COLUMN = {name: number for number, name in enumerate(_FIELDS)}
_NEVER = 1 << 63


def take(state: AccountState, worker: str, busy: Sequence[Stretch], busy_since: int | None) -> int:
    """Take what a worker reports of the instance.

    Returns:
        Nanoseconds, at most, that came too late: they lie in what is settled and are not billed.
    """
    known = state.open.pop(worker, None)
    begun = [*busy, (busy_since, _NEVER)] if busy_since is not None else list(busy)
    late = sum(max(0, min(end, state.settled) - begin) for begin, end in begun if begin != known)
    _join(state, busy)
    if busy_since is not None:
        state.open[worker] = busy_since
    return late


def abandon(state: AccountState, worker: str, moment: int) -> None:
    """End what a worker had in flight: it is gone, and was last heard of at `moment`."""
    since = state.open.pop(worker, None)
    if since is not None:
        _join(state, [(since, moment)])


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
    del state.busy[: bisect_right(state.busy, moment, key=_end)]
    if state.busy and state.busy[0][0] < moment:
        state.busy[0] = (moment, state.busy[0][1])
    state.booked = _tally(state, until, clock)


def _join(state: AccountState, busy: Sequence[Stretch]) -> None:
    """Add stretches to those that are known."""
    new = union(busy, state.settled, _NEVER)
    if new and state.busy and new[0][0] <= state.busy[-1][1]:
        new = union([*state.busy, *new], state.settled, _NEVER)
        state.busy.clear()
    state.busy += new


def _end(stretch: Stretch) -> int:
    return stretch[1]


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


class _Tally:
    """Sums by minute. Plain lists of integers: a busy instance has thousands of slices a flush."""

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self._rows: dict[int, list[int]] = {}
        self._row: list[int] = []  # of the minute that lasts over [begin, end)
        self._begin = self._end = 0

    def spread(self, field: int, begin: int, end: int) -> None:
        """Add the nanoseconds of [begin, end) to the minutes they lie in."""
        while begin < end:
            row = self._row_of(begin)
            last = min(end, self._end)
            row[field] += last - begin
            begin = last

    def add(self, field: int, moment: int, quantity: int) -> None:
        """Add a quantity to the minute of a moment."""
        self._row_of(moment)[field] += quantity

    def amounts(self) -> dict[int, Amounts]:
        return {minute: Amounts(*row) for minute, row in self._rows.items()}

    def _row_of(self, moment: int) -> list[int]:
        if not self._begin <= moment < self._end:
            minute, self._end = self._clock.part(moment)
            self._begin = moment
            self._row = self._rows.setdefault(minute, [0] * len(_FIELDS))
        return self._row


def _tally(state: AccountState, until: int, clock: WallClock) -> dict[int, Amounts]:
    tally = _Tally(clock)
    window = _window(state, until)
    for cut in window:
        tally.spread(_COLUMN[cut.kind], cut.begin, cut.end)
        if cut.kind is Kind.IDLE and state.warm_since is not None:
            tally.spread(_COLUMN["warm"], max(cut.begin, state.warm_since), cut.end)
    ended = state.life.ended is not None and state.life.ended <= until
    for end, length in _closed(window, state, ended):
        tally.add(_COLUMN["rounding_100ms"], end - 1, -length % _SHORT)
        tally.add(_COLUMN["rounding_1s"], end - 1, -length % _LONG)
    if ended and state.mode is Mode.LAMBDA and not state.invoked:
        moment, milliseconds = _unused_start(state)
        tally.add(_COLUMN["invocation_milliseconds"], moment, milliseconds)
    return tally.amounts()


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


def _unused_start(state: AccountState) -> tuple[int, int]:
    """Return the last moment and the milliseconds of a start that no invocation paid for."""
    life = state.life
    assert life.ended is not None
    ready = next(m for m in (life.ready, life.stopping, life.ended) if m is not None)
    return max(life.started, life.ended - 1), -(-(ready - life.started) // MILLISECOND)
