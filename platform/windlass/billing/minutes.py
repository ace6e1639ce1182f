"""Maps CLOCK_MONOTONIC moments to minutes of UTC, through every step of the wall clock.

A moment's minute never changes once it is known, so that what was booked can be corrected in the
very minute in which it was booked. Nothing here reads a clock.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

SECOND = 1_000_000_000  # ns
MINUTE = 60 * SECOND
STEP = SECOND // 2  # a smaller change of the offset is slew, or the time between two readings


class WallClock(msgspec.Struct):
    """The wall clock's offset to the monotonic one, and the moments at which it was stepped."""

    steps: list[tuple[int, int]]  # (first moment, offset), in order; the first holds before, too

    def observe(self, now: int, offset: int) -> None:
        """Take the offset that was read just now: it holds from now on if the clock was stepped."""
        if abs(offset - self.steps[-1][1]) >= STEP:
            self.steps.append((now, offset))

    def forget(self, before: int) -> None:
        """Drop the steps that no moment from `before` on needs."""
        del self.steps[: max(0, bisect_right(self.steps, before, key=_moment) - 1)]

    def utc(self, moment: int) -> int:
        """Return Unix nanoseconds."""
        return moment + self.steps[self._index(moment)][1]

    def minute(self, moment: int) -> int:
        """Return the minute, counted from 1970."""
        return self.utc(moment) // MINUTE

    def part(self, moment: int) -> tuple[int, int]:
        """Return the minute of a moment, and the moment up to which it lasts."""
        index = self._index(moment)
        offset = self.steps[index][1]
        minute = (moment + offset) // MINUTE
        end = (minute + 1) * MINUTE - offset
        if index + 1 < len(self.steps):
            end = min(end, self.steps[index + 1][0])
        return minute, end

    def _index(self, moment: int) -> int:
        return max(0, bisect_right(self.steps, moment, key=_moment) - 1)


def _moment(step: tuple[int, int]) -> int:
    return step[0]
