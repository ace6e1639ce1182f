"""Which router workers have let go of an instance that is to be frozen. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class _Asked:
    round: int
    missing: set[str]  # workers that have not answered


class Rests:
    """The instances that workers were asked to let go of, and who has not answered yet."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def ask(self, instance: str, number: int, workers: Iterable[str]) -> None:
        """Take it that all workers were asked for this round; none counts of the rounds before."""
        self._asked[instance] = _Asked(number, set(workers))

    def answer(self, worker: str, instance: str, number: int, *, at_rest: bool) -> bool | None:
        """Take a worker's answer; return whether all let go. None: that is not known yet."""
        asked = self._asked.get(instance)
        if asked is None or asked.round != number:
            return None
        asked.missing.discard(worker)
        if at_rest and asked.missing:
            return None
        del self._asked[instance]
        return at_rest

    def worker_gone(self, worker: str) -> list[tuple[str, int]]:
        """Ask a worker that has ended no more; return (instance, round) that all let go of now."""
        asked = [(name, each.round) for name, each in self._asked.items() if worker in each.missing]
        return [pair for pair in asked if self.answer(worker, *pair, at_rest=True)]

    def forget(self, instance: str) -> None:
        """Forget an instance that is not to be frozen any more."""
        self._asked.pop(instance, None)
