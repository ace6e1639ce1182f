"""How many requests of a revision may be tried again at once, so that retries never become the
load that keeps a struggling revision down. Pure.
"""

from __future__ import annotations

from typing import Final

PART = 0.2  # of the requests under way or waiting; the same part as Envoy's retry budgets
AT_LEAST = 3  # where few requests are under way, a part of them would be none
MAX_TRIES: Final = 3  # of one request


class RetryBudget:
    """The retries of one revision. A retried request counts from its retry until it ends."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0  # retried requests under way

    def take(self, active: int) -> bool:
        """Take a place for one more retried request while `active` requests are under way.

        Returns False if there is none: the request is to fail.
        """
        if self.used >= max(AT_LEAST, int(active * PART)):
            return False
        self.used += 1
        return True

    def give_back(self) -> None:
        """A retried request has ended."""
        self.used -= 1
