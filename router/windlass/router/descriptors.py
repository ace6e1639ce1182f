"""How many connections a worker can have: its file descriptors, shared between both sides."""

from __future__ import annotations

import contextlib
import resource

CLIENTS_PART = (
    0.75  # of all descriptors; an idle client needs no other, an active one an instance's
)


def raise_limit() -> int:
    """Take as many descriptors as the system allows; return how many there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # where it is forbidden, there is what there is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def for_clients(limit: int) -> int:
    """Return how many clients may be connected, so that instances can still be."""
    return int(limit * CLIENTS_PART)
