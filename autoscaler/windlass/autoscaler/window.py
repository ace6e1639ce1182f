"""Time-weighted averages of a revision's demand: arithmetic on integrals, without a clock.

Moments are nanoseconds, demand is requests in flight and queued, integrals are request-nanoseconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """An integral of the demand over [begin, end)."""

    begin: int
    end: int
    integral: int

    def after(self, start: int) -> float:
        """Return the part of the integral after `start`, as if the demand were even."""
        if self.begin >= start:
            return self.integral
        if self.end <= start:
            return 0.0
        return self.integral * (self.end - start) / (self.end - self.begin)


class Window:
    """A revision's demand over the last `span` nanoseconds.

    Reports tell of the past exactly; from the end of the last one on, the level last heard counts.
    Time without a report and without a level is time without demand.
    """

    def __init__(self, span: int) -> None:
        self._span = span
        self._reported: deque[Stretch] = deque()  # each of about a second, as Knative's buckets
        self._risen: Stretch | None = None  # since the last report, up to _level_since
        self._level = 0
        self._level_since = 0
        self._first: int | None = None  # first demand since a whole span without any
        self.last_demand: int | None = None

    def report(self, begin: int, end: int, integral: int, level: int) -> None:
        """Take a report of the demand's integral over [begin, end), and the level at its end."""
        self._risen = None
        self._level, self._level_since = level, end
        if integral and end > begin:
            self._note_demand(begin, end)
            self._append(Stretch(begin, end, integral))
        while self._reported and self._reported[0].end <= end - self._span:
            self._reported.popleft()

    def rise(self, now: int, level: int) -> None:
        """Take a level that was heard between two reports."""
        integral = self._level * (now - self._level_since)
        if integral > 0:
            begin = self._risen.begin if self._risen else self._level_since
            before = self._risen.integral if self._risen else 0
            self._risen = Stretch(begin, now, before + integral)
        self._level, self._level_since = level, now
        if level:
            self._note_demand(now, now)

    def average(self, now: int, span: int) -> float:
        """Return the mean demand over the last `span` ns, in requests.

        A window younger than that is averaged from its first demand on, but over one second at
        least (Knative's bucket), lest a few milliseconds count as a steady load.
        """
        if self._first is None:
            return 0.0
        start = max(now - span, self._first)
        length = max(now - start, min(SECOND, span))
        total = sum(stretch.after(start) for stretch in self._reported)
        if self._risen:
            total += self._risen.after(start)
        total += self._level * max(0, now - max(start, self._level_since))
        return total / length

    def demand_at(self, now: int) -> int | None:
        """Return the last moment with a request, as far as is known; None: there was none."""
        return now if self._level else self.last_demand

    def _append(self, new: Stretch) -> None:
        last = self._reported[-1] if self._reported else None
        if last and last.end == new.begin and new.end - last.begin <= SECOND:
            self._reported[-1] = Stretch(last.begin, new.end, last.integral + new.integral)
        else:
            self._reported.append(new)

    def _note_demand(self, begin: int, end: int) -> None:
        if self.last_demand is None or begin - self.last_demand >= self._span:
            self._first = begin
        self.last_demand = max(end, self.last_demand or end)
