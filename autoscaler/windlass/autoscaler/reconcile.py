"""Wanted against what there is: which instances to start, drain or stop. Pure.

Starts that do not fit now are not kept for later: the next call sees the demand of its own time,
so that a burst against slow starts does not start more than is needed by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.model.instance import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windlass.model.instance import Instance

FIRST_PAUSE = 1.0  # seconds before the start after a failed one, doubled with each
LONGEST_PAUSE = 60.0
SOUND_AFTER = 10.0  # seconds that an instance was ready for, when its end is not a crash loop's


@dataclass(frozen=True, slots=True)
class StartInstance:
    """Start a new instance."""

    reason: str


@dataclass(frozen=True, slots=True)
class DrainInstance:
    """Give a ready instance no new request, then stop it."""

    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopInstance:
    """Stop an instance that is not ready yet."""

    instance: str
    reason: str


Instruction = StartInstance | DrainInstance | StopInstance


@dataclass(frozen=True, slots=True)
class Backoff:
    """How starts of a revision failed lately; moments in seconds."""

    failures: int = 0  # in a row
    failed_at: float = 0.0
    retry_at: float = 0.0
    reason: str = ""  # of the last failure


def after_failure(
    backoff: Backoff, begun: float, now: float, reason: str, *, was_ready: bool = False
) -> Backoff:
    """Return the pause after an instance that was begun at `begun` failed.

    The first crash of an instance that was ready is no loop yet: another may start at once.
    Instances that were begun before the last failure belong to the same wave: they count once.
    """
    if backoff.failures and begun < backoff.failed_at:
        return backoff
    forgotten = now > backoff.retry_at + LONGEST_PAUSE
    failures = 1 if forgotten else backoff.failures + 1
    pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 16), LONGEST_PAUSE)
    if was_ready and failures == 1:
        pause = 0.0
    return Backoff(failures, now, now + pause, reason)


def reconcile(
    desired: int,
    reason: str,
    instances: Sequence[Instance],
    in_flight: Mapping[str, int],
    free_starts: int,
    *,
    removed: bool = False,
) -> list[Instruction]:
    """Return what brings the instances to the desired number.

    An instance in draining is no capacity. One that is starting becomes ready even when it is not
    wanted any more (its slots may be by then), unless the revision is removed. `in_flight` has
    what is known of instances; `free_starts` is how many starts the runtime takes on now.
    """
    ready = [i for i in instances if i.state is State.READY]
    starting = [i for i in instances if i.state is State.STARTING]
    if removed:
        gone: list[Instruction] = [DrainInstance(i.id, reason) for i in ready]
        return gone + [StopInstance(i.id, reason) for i in starting]
    missing = desired - len(ready) - len(starting)
    if missing > 0:
        return [StartInstance(reason)] * min(missing, max(free_starts, 0))
    surplus = max(0, len(ready) - desired)
    # Idle ones first, then those with the least to finish; the newest of equals.
    ready.sort(key=lambda i: (in_flight.get(i.id, 0), -i.started))
    return [DrainInstance(i.id, reason) for i in ready[:surplus]]
