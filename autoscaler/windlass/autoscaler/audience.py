"""Who hears what the autoscaler does: the protocol that its user meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from windlass.autoscaler.sleeper import Routers

if TYPE_CHECKING:
    from windlass.autoscaler.decide import Decision
    from windlass.model.instance import Instance
    from windlass.runtime.base import LogLine


class Audience(Routers, Protocol):
    """Who is told; every method is synchronous and returns at once."""

    def instance_changed(self, instance: Instance) -> None:
        """Hear of an instance's new state, before the next step is taken."""

    def instance_withheld(self, instance: Instance, reason: str) -> None:
        """Hear that a ready instance is to get no new request; an empty reason: it is again."""

    def start_failed(self, revision: str, reason: str) -> None:
        """Hear that no instance comes up."""

    def decided(self, revision: str, decision: Decision, now: float) -> None:
        """Hear of a decision whose number or kind is new; `now` in seconds of the clock."""

    def log_line(self, instance: str, line: LogLine) -> None:
        """Hear what an instance printed."""
