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
    from windlass.billing.slices import Life, Stretch

MILLISECOND = 1_000_000  # ns
_SHORT, _LONG = 100 * MILLISECOND, 1000 * MILLISECOND  # grains of slices' two roundings
_FIVE_MINUTES = 300_000 * MILLISECOND  # to which the time an instance is held is rounded up
_FIELDS = Amounts.__struct_fields__
_COLUMN = {name: number for number, name in enumerate(_FIELDS)}
_BUSY, _IDLE, _WARM, _HELD = (_COLUMN[name] for name in ("busy", "idle", "warm", "held"))
_SHORTLY, _LONGER = _COLUMN["rounding_100ms"], _COLUMN["rounding_1s"]
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


def start_milliseconds(life: Life, first_duration: int) -> int:
    """Return what the start adds to an invocation of that many ns, which is rounded up once."""
    start = 0 if life.ready is None else life.ready - life.started
    return _up(start + first_duration) - _up(first_duration)


def book(
    state: AccountState, until: int, clock: WallClock, final: int | None = None
) -> dict[int, Amounts]:
    """Return, by minute, what the facts up to `until` add to what was booked before.

    What lies before the moment `final`, if any, is settled: its details are forgotten.
    """
    ended = state.life.ended is not None and state.life.ended <= until
    window = _window(state, until)
    settled, open_ = _Tally(clock, state.warm_since), _Tally(clock, state.warm_since)
    if final is not None:
        final = min(final, until if state.life.ended is None else state.life.ended)
        if final > state.settled:
            head, window = _divide(window, final)
            _forget(state, final, settled.count(head, state.carried))
    length = open_.count(window, state.carried)
    if ended:
        open_.close(window[-1].end if window else state.settled, length)
        if state.mode is Mode.LAMBDA and not state.invoked:
            moment, milliseconds = _unused_start(state)
            open_.add(_COLUMN["invocation_milliseconds"], moment, milliseconds)
            if state.warm_since is not None:
                open_.add(_COLUMN["held_milliseconds"], moment, milliseconds)
        if state.warm_since is not None:
            open_.add(_COLUMN["rounding_5min"], *_held_rounding(state.life, state.warm_since))
    return _changes(state, settled.amounts(), open_.amounts())


def _changes(
    state: AccountState, settled: dict[int, Amounts], open_: dict[int, Amounts]
) -> dict[int, Amounts]:
    """Return what differs from what was booked; only what is not settled can differ again."""
    nothing = Amounts()
    changes = {
        minute: settled.get(minute, nothing)
        + open_.get(minute, nothing)
        - state.booked.get(minute, nothing)
        for minute in settled.keys() | open_.keys() | state.booked.keys()
    }
    state.booked = open_
    return {minute: change for minute, change in changes.items() if change != nothing}


def _forget(state: AccountState, moment: int, carried: int) -> None:
    """Keep nothing of what lies before a moment but how long the billable stretch has lasted."""
    state.settled, state.carried = moment, carried
    del state.busy[: bisect_right(state.busy, moment, key=_end)]
    if state.busy and state.busy[0][0] < moment:
        state.busy[0] = (moment, state.busy[0][1])


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
    cuts = slices(state.life, known, until)
    return _divide(cuts, state.settled)[1]


def _divide(cuts: list[Slice], moment: int) -> tuple[list[Slice], list[Slice]]:
    """Return the slices before a moment and those from it on; one that crosses it is cut."""
    at = bisect_right(cuts, moment, key=_cut_end)
    before, after = cuts[:at], cuts[at:]
    if after and after[0].begin < moment:
        kind, begin, end = after[0]
        before.append(Slice(kind, begin, moment))
        after[0] = Slice(kind, moment, end)
    return before, after


def _cut_end(cut: Slice) -> int:
    return cut.end


class _Tally:
    """Sums by minute. Plain lists of integers: a busy instance has thousands of slices a flush."""

    def __init__(self, clock: WallClock, warm_since: int | None) -> None:
        self._clock = clock
        self._warm_since = warm_since
        self._rows: dict[int, list[int]] = {}
        self._row: list[int] = []  # of the minute that lasts over [begin, end)
        self._begin = self._end = 0

    def count(self, window: Sequence[Slice], length: int) -> int:
        """Add up slices, and the rounding of each billable stretch that an idle slice ends.

        Startup, busy and shutdown slices that touch are one stretch: it is rounded once.

        Args:
            window: slices without a gap.
            length: of the billable stretch that reaches it.

        Returns:
            The length of the billable stretch that reaches the window's end.
        """
        for kind, first, last in window:
            if self._warm_since is not None and kind in (Kind.IDLE, Kind.BUSY):
                self.spread(_HELD, max(first, self._warm_since), last)
            if kind is Kind.IDLE:
                self.close(first, length)
                length = 0
                self.spread(_IDLE, first, last)
                if self._warm_since is not None:
                    self.spread(_WARM, max(first, self._warm_since), last)
            else:
                length += last - first
                self.spread(_BUSY if kind is Kind.BUSY else _COLUMN[kind], first, last)
        return length

    def close(self, end: int, length: int) -> None:
        """Add what rounding adds to a billable stretch that ended."""
        if length:
            self.add(_SHORTLY, end - 1, -length % _SHORT)
            self.add(_LONGER, end - 1, -length % _LONG)

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


def _unused_start(state: AccountState) -> tuple[int, int]:
    """Return the last moment and the milliseconds of a start that no invocation paid for."""
    life = state.life
    assert life.ended is not None
    ready = next(m for m in (life.ready, life.stopping, life.ended) if m is not None)
    return max(life.started, life.ended - 1), _up(ready - life.started)


def _up(length: int) -> int:
    """Return the milliseconds that cover so many nanoseconds."""
    return -(-length // MILLISECOND)


def _held_rounding(life: Life, since: int) -> tuple[int, int]:
    """Return the last moment at which an ended instance was held, and what rounding that adds."""
    assert life.ended is not None
    last = life.ended if life.stopping is None else life.stopping
    return max(life.started, last - 1), -max(0, last - since) % _FIVE_MINUTES
