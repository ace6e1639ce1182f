"""Which instances are frozen now, and when they were lately, to be shown. Pure.

Moments are nanoseconds of one clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windlass.billing.slices import Stretch

MOST = 600  # stretches per instance: more than a chart has room for


class Frozen:
    """Instances that have no CPU until a request comes."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}
        self._past: dict[str, deque[Stretch]] = {}

    def __contains__(self, instance: object) -> bool:
        return instance in self._since

    def begin(self, instance: str, now: int) -> None:
        """Take it that an instance was frozen."""
        self._since.setdefault(instance, now)

    def end(self, instance: str, now: int) -> None:
        """Take it that an instance is frozen no more, if it was."""
        since = self._since.pop(instance, None)
        if since is not None:
            self._past.setdefault(instance, deque(maxlen=MOST)).append((since, now))

    def forget(self, instance: str) -> None:
        """Forget an instance that is not shown any more."""
        self._since.pop(instance, None)
        self._past.pop(instance, None)

    def stretches(self, instance: str, now: int) -> list[Stretch]:
        """Return when an instance was frozen, in order."""
        past = list(self._past.get(instance, ()))
        since = self._since.get(instance)
        return past if since is None else [*past, (since, now)]
