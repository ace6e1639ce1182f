"""The instances that ended lately, which are still shown: a few of each service."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windlass.model.instance import Instance

KEPT = 50  # of each service


class EndedInstances:
    """By service, oldest first."""

    def __init__(self) -> None:
        self._ended: dict[str, deque[Instance]] = {}

    def add(self, instance: Instance) -> list[str]:
        """Keep one; return the ids of those that are not kept any more."""
        kept = self._ended.setdefault(instance.service, deque())
        kept.append(instance)
        return [kept.popleft().id] if len(kept) > KEPT else []

    def of(self, service: str) -> tuple[Instance, ...]:
        """Return those of a service."""
        return tuple(self._ended.get(service, ()))

    def forget(self, service: str) -> list[str]:
        """Keep none of a service any more; return their ids."""
        return [instance.id for instance in self._ended.pop(service, ())]
