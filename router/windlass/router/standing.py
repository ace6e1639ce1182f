"""How reliable an instance has been of late, and how long it is set aside when it is not. Pure.

Whether another instance is left to take its requests is not known here.
"""

from __future__ import annotations

from windlass.router.pool import SECOND

MAX_FAILURES = 5  # in a row: connections that could not be made, or ended before an answer
ASIDE_TIME = 30 * SECOND  # ns, times the number of times in a row
MAX_ASIDE_TIME = 300 * SECOND


class Standing:
    """One instance's failures in a row. Moments are nanoseconds."""

    __slots__ = ("aside_until", "failures", "times")

    def __init__(self) -> None:
        self.failures = 0  # since the last answer, or since it came back
        self.times = 0  # that it was set aside since its last answer
        self.aside_until = 0  # 0: it is not set aside

    def fail(self, count: int = 1) -> None:
        """Count failures."""
        self.failures += count

    def answer(self) -> None:
        """The instance has answered: what was before is forgotten."""
        self.failures = self.times = 0

    def is_bad(self) -> bool:
        """Tell whether the instance is to be set aside."""
        return self.failures >= MAX_FAILURES

    def set_aside(self, now: int) -> None:
        """Give it no requests until `aside_until`."""
        self.times += 1
        self.aside_until = now + min(ASIDE_TIME * self.times, MAX_ASIDE_TIME)

    def come_back(self) -> None:
        """Give it requests again."""
        self.failures = self.aside_until = 0
