"""What every worker last said is in flight on each instance, and the sums over all workers.

What a worker said is forgotten with it. What follows from a level is not known here; that of a
revision is kept with its leases.
"""

from __future__ import annotations


class Levels:
    """The latest levels by worker; what is zero is not kept."""

    def __init__(self) -> None:
        self._instances: dict[str, dict[str, int]] = {}  # instance -> worker -> in flight

    def set_instance(self, worker: str, instance: str, in_flight: int) -> int:
        """Take what a worker has in flight on an instance; return what all have."""
        known = self._instances.setdefault(instance, {})
        known[worker] = in_flight
        if not in_flight:
            del known[worker]
        if not known:
            del self._instances[instance]
        return sum(known.values())

    def forget_instance(self, instance: str) -> None:
        """Forget an instance that has ended."""
        self._instances.pop(instance, None)

    def worker_gone(self, worker: str) -> dict[str, int]:
        """Forget what a worker said; return the new sums of what it had said something about."""
        theirs = [name for name, known in self._instances.items() if worker in known]
        return {name: self.set_instance(worker, name, 0) for name in theirs}
