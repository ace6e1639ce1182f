"""File descriptors: how many clients there may be, and what happens above."""

from __future__ import annotations

import resource

from tests.router.test_http1_bytes import Wire, get

from windlass.router.descriptors import for_clients, raise_limit


def test_a_quarter_is_left_for_instances() -> None:
    assert for_clients(1024) == 768


def test_all_descriptors_that_the_system_allows_are_taken() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    assert raise_limit() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_above_the_limit_idle_clients_are_closed_and_no_other() -> None:
    wire = Wire()
    dispatch = wire.client.dispatch
    dispatch.max_clients = 1
    dispatch.sweep(1)
    assert not wire.to_client.closed
    wire.send(get("/"))
    dispatch.max_clients = 0  # any number
    dispatch.sweep(1)
    dispatch.clients.add(Idle(2))
    late, early = Idle(3), Idle(1)
    dispatch.clients |= {late, early}
    dispatch.max_clients = 2
    dispatch.sweep(0)
    assert early.closed
    assert not late.closed
    assert not wire.to_client.closed


class Idle:
    """A client without a request."""

    def __init__(self, deadline: int) -> None:
        self.deadline = deadline
        self.closed = False

    def is_idle(self) -> bool:
        return True

    def abort(self) -> None:
        self.closed = True

    def expire(self, now: int) -> None: ...

    def drain(self, now: int, until: int, *, patient: bool) -> None: ...
