"""When an instance that nobody calls is frozen, and which frozen ones are thawed. Pure.

Between the two lies what the routers say: an instance is frozen only when each of them has let go
of it. Moments are nanoseconds.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(Enum):
    """How far an instance's rest has got."""

    AWAKE = "awake"
    ASKED = "asked"  # routers were asked to let go of it
    FROZEN = "frozen"


class Rest:
    """The rest of one instance that serves: told what happens, it says what is due."""

    def __init__(self, delay: int, now: int) -> None:
        """An instance that has been idle for `delay` ns is to be frozen."""
        self._delay = delay
        self._in_flight = 0
        self.idle_since = now
        self._withheld = False
        self.phase = Phase.AWAKE
        self.round = 0  # how often routers were asked; their answers name it
        self.freezes = 0

    def due(self) -> int | None:
        """Return the moment from which routers are to be asked; None: not as things are."""
        if self._in_flight or self._withheld or self.phase is not Phase.AWAKE:
            return None
        return self.idle_since + self._delay

    def ask(self, now: int) -> bool:
        """Return whether to ask the routers now."""
        due = self.due()
        if due is None or now < due:
            return False
        self.phase = Phase.ASKED
        self.round += 1
        return True

    def loaded(self, in_flight: int, last: int) -> None:
        """Take what is in flight, and the moment at which something was for the last time."""
        self._in_flight = in_flight
        self.idle_since = max(self.idle_since, last)

    def released(self, number: int) -> bool:
        """Take it that every router has let go for the round; return whether to freeze now."""
        if self.phase is not Phase.ASKED or number != self.round:
            return False
        self.phase = Phase.FROZEN
        self.freezes += 1
        return True

    def refused(self, number: int, now: int) -> bool:
        """Take it that a router uses it in the round; return whether to tell that it is awake."""
        if self.phase is not Phase.ASKED or number != self.round:
            return False
        return self.wake(now)

    def wake(self, now: int) -> bool:
        """End its rest, whatever the reason; return whether it had begun."""
        begun = self.phase is not Phase.AWAKE
        if begun:
            self.phase = Phase.AWAKE
            self.idle_since = now
        return begun

    def withhold(self, now: int, *, withheld: bool) -> None:
        """Let it rest no more while it is not to get requests: its probe has to go on."""
        self._withheld = withheld
        self.idle_since = now


def to_wake(rests: Mapping[str, Rest], queued: int, concurrency: int) -> list[str]:
    """Return which instances to wake for requests that wait: as many as have slots for them.

    Those that are not frozen yet come first, then those that served last.
    """
    resting = [name for name, rest in rests.items() if rest.phase is not Phase.AWAKE]
    resting.sort(key=lambda name: (rests[name].phase is Phase.FROZEN, -rests[name].idle_since))
    return resting[: -(-queued // concurrency)]
