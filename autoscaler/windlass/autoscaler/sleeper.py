"""Freezes and thaws one instance that serves, as `rest` says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from windlass.autoscaler.rest import Phase, Rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from windlass.runtime.base import CpuControl, Thaw

SECOND = 1_000_000_000  # ns


class Routers(Protocol):
    """Those who give instances requests; every method returns at once."""

    def instance_to_rest(self, instance: str, number: int, thaw: Thaw) -> None:
        """Ask each of them to let go of an instance, and to answer for the round."""

    def instance_frozen(self, instance: str) -> None:
        """Tell them that it is frozen, and theirs to thaw when a request needs it."""

    def instance_awake(self, instance: str) -> None:
        """Tell them that it takes requests as it is."""


class Sleeper:
    """One instance's freezing and thawing, until it is to end."""

    def __init__(
        self,
        instance: str,
        cpu: CpuControl,
        routers: Routers,
        clock: Callable[[], int],
        delay: float,
    ) -> None:
        """Begin with an instance that is awake; it rests when idle for `delay` seconds."""
        self._instance, self._cpu, self._routers, self._clock = instance, cpu, routers, clock
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.rest = Rest(round(delay * SECOND), clock())
        self._plan()

    @property
    def frozen(self) -> bool:
        """Whether it has no CPU now."""
        return self.rest.phase is Phase.FROZEN

    def loaded(self, in_flight: int, last: int) -> None:
        """Hear what is in flight, and the moment (ns) at which something last was."""
        self.rest.loaded(in_flight, last)
        if in_flight and self.frozen:  # a router that lost its link has thawed it
            self.wake()
        self._plan()

    def answered(self, number: int, *, released: bool) -> None:
        """Hear from the routers: all have let go of the instance in the round, or one uses it."""
        if self._ended:
            return
        if released:
            if self.rest.released(number):
                # No await between the two: nobody may call off what is done already.
                self._cpu.freeze(self._instance)
                self._routers.instance_frozen(self._instance)
        elif self.rest.refused(number, self._clock()):
            self._routers.instance_awake(self._instance)
        self._plan()

    def wake(self) -> None:
        """End its rest, if it has one: thaw it, and tell the routers."""
        if not self._ended and self.rest.wake(self._clock()):
            self._cpu.thaw(self._instance)
            self._routers.instance_awake(self._instance)
            self._plan()

    def withhold(self, *, withheld: bool) -> None:
        """Hear that it gets no requests for now, as the routers know, or gets them again."""
        if self.rest.wake(self._clock()):
            self._cpu.thaw(self._instance)
        self.rest.withhold(self._clock(), withheld=withheld)
        self._plan()

    def end(self) -> None:
        """Freeze it no more: it is to stop, which the runtime sees to, frozen or not."""
        self._ended = True
        self._plan()

    def _plan(self) -> None:
        """Look again when something may be due."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = None if self._ended else self.rest.due()
        if due is not None:
            pause = max(0, due - self._clock()) / SECOND
            self._timer = asyncio.get_running_loop().call_later(pause, self._ask)

    def _ask(self) -> None:
        if self.rest.ask(self._clock()):
            thaw = self._cpu.thawing(self._instance)
            self._routers.instance_to_rest(self._instance, self.rest.round, thaw)
        self._plan()
