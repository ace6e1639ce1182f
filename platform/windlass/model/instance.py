"""An instance's life: its states, as a table of transitions, and the moments that billing needs."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    """Where an instance is in its life."""

    STARTING = "starting"  # asked for, not ready
    READY = "ready"  # takes requests
    DRAINING = "draining"  # takes no new request, finishes those it has
    STOPPING = "stopping"  # SIGTERM sent
    STOPPED = "stopped"  # ended as asked
    FAILED = "failed"  # never ready, or ended by itself


TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.STOPPING, State.FAILED}),
    State.READY: frozenset({State.DRAINING, State.FAILED}),
    State.DRAINING: frozenset({State.STOPPING, State.FAILED}),
    State.STOPPING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset(),
    State.FAILED: frozenset(),
}

ENDED = frozenset({State.STOPPED, State.FAILED})


class ImpossibleTransition(Exception):
    """A transition that the table does not list: a fault of ours."""

    def __init__(self, instance: str, old: State, new: State) -> None:
        super().__init__(f"instance {instance} cannot go from {old} to {new}")
        self.instance, self.old, self.new = instance, old, new


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance's main process ended."""

    code: int | None = None  # exit status; None when a signal ended it or nobody knows
    signal: int | None = None
    out_of_memory: bool = False
    reason: str = ""  # what the runtime says, where it says more


class Address(msgspec.Struct, frozen=True):
    """Where an instance listens, as seen from this machine."""

    host: str
    port: int


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a revision. Moments are CLOCK_MONOTONIC nanoseconds, None: not yet."""

    id: str  # REVISION-xxxxx
    revision: str
    service: str
    state: State = State.STARTING
    address: Address | None = None
    started: int
    launched: int | None = None  # its process was let run
    deaf: int | None = None  # a probe last found that it takes no requests
    ready: int | None = None
    stopping: int | None = None  # SIGTERM
    ended: int | None = None
    exit: Exit | None = None
    reason: str = ""  # why it was started, or why it failed


def moved(instance: Instance, state: State, **changes: object) -> Instance:
    """Return the instance in its next state.

    Raises:
        ImpossibleTransition: the table does not list it.
    """
    if state not in TRANSITIONS[instance.state]:
        raise ImpossibleTransition(instance.id, instance.state, state)
    return msgspec.structs.replace(instance, state=state, **changes)
