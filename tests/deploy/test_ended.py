"""Instances that ended: the last ones of each service are kept, and none of a deleted one."""

from __future__ import annotations

from windlass.deploy.ended import KEPT, EndedInstances
from windlass.model.instance import Instance, State


def instance(number: int, service: str = "shop") -> Instance:
    name = f"{service}-00001-{number}"
    return Instance(
        id=name, revision=f"{service}-00001", service=service, started=0, state=State.STOPPED
    )


def test_the_last_ones_of_each_service_are_kept_and_the_others_named() -> None:
    ended = EndedInstances()
    assert [ended.add(instance(number)) for number in range(KEPT)] == [[]] * KEPT
    assert ended.add(instance(7, "other")) == []
    assert ended.add(instance(KEPT)) == ["shop-00001-0"]
    assert [each.id for each in ended.of("shop")] == [
        f"shop-00001-{number}" for number in range(1, KEPT + 1)
    ]
    assert ended.of("other") == (instance(7, "other"),)


def test_nothing_is_kept_of_services_that_come_and_go() -> None:
    ended = EndedInstances()
    for number in range(1000):
        service = f"service-{number}"
        ended.add(instance(1, service))
        assert ended.forget(service) == [f"{service}-00001-1"]
        assert ended.of(service) == ()
    assert ended.forget("never seen") == []
    assert ended._ended == {}
