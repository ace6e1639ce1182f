"""The pool: instances that are frozen, and who thaws them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.router.pools import make_pool

from windlass.router.levels import Instance

if TYPE_CHECKING:
    from windlass.router.pool import Pool


def frozen_pool(*names: str) -> tuple[Pool[Instance, str], list[str]]:
    """Return a pool of frozen instances, concurrency 2 and target 1, and those thawed so far."""
    thawed: list[str] = []
    pool = make_pool(concurrency=2, target=1)
    for name in names:
        instance = Instance(name, 2)
        pool.add(instance, 0)
        assert pool.rest(instance)
        assert pool.freeze(instance, partial(thawed.append, name), 0) == []
    return pool, thawed


def test_a_request_thaws_the_instance_that_was_frozen_last() -> None:
    pool, thawed = frozen_pool("a", "b")
    instance = pool.acquire("r0", 1)
    assert instance is not None
    assert (instance.id, thawed) == ("b", ["b"])


def test_an_instance_is_thawed_where_an_idle_one_would_be_used() -> None:
    pool, thawed = frozen_pool("a", "b")
    chosen = [pool.acquire(f"r{n}", n) for n in range(4)]  # the target is one request
    assert thawed == ["b", "a"]
    assert [each.in_flight for each in chosen if each] == [2, 2, 2, 2]


def test_none_is_thawed_while_another_is_idle() -> None:
    pool, thawed = frozen_pool("a")
    pool.add(Instance("b", 2), 1)
    for n in range(3):
        instance = pool.acquire(f"r{n}", n)
        assert instance is not None
        assert instance.id == "b"
        pool.release(instance, n, n)
    assert thawed == []


def test_an_instance_in_use_or_closed_is_not_put_to_rest() -> None:
    pool = make_pool()
    instance = Instance("a", 2)
    pool.add(instance, 0)
    pool.acquire("r0", 0)
    assert not pool.rest(instance)
    assert instance.open
    pool.release(instance, 0, 1)
    pool.close(instance)
    assert not pool.rest(instance)


def test_who_waited_when_an_instance_was_frozen_thaws_it() -> None:
    pool, thawed = make_pool(), list[str]()
    instance = Instance("a", 2)
    pool.add(instance, 0)
    assert pool.rest(instance)
    assert pool.acquire("r0", 1) is None
    assert pool.freeze(instance, lambda: thawed.append("a"), 2) == ["r0"]
    assert (thawed, instance.in_flight) == (["a"], 1)


def test_a_client_that_comes_back_thaws_its_instance() -> None:
    pool, thawed = frozen_pool("a", "b")
    preferred = pool.prefer("a", 1)
    assert preferred is not None
    assert (preferred.id, thawed) == ("a", ["a"])


@pytest.mark.parametrize("what", ["close", "drain", "remove"])
def test_a_frozen_instance_that_is_closed_is_not_thawed_for_requests(what: str) -> None:
    pool, thawed = frozen_pool("a")
    getattr(pool, what)(pool.instances["a"])
    assert pool.acquire("r0", 1) is None
    assert thawed == []
