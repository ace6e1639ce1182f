"""Revisions and traffic through deploys that work and deploys that fail."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy import rollout
from windlass.model.service import Container, Service, Target, Template
from windlass.router.link import Split

TEMPLATE = Template(container=Container(image="nginx"))


def deployed(known: Service | None, traffic: tuple[Target, ...] | None = None) -> Service:
    revision = rollout.next_revision(known, "hello", TEMPLATE, now=1.0)
    return rollout.succeeded(known, revision, (), traffic)


def test_revisions_are_numbered_from_one() -> None:
    first = rollout.next_revision(None, "hello", TEMPLATE, now=5.0)
    assert (first.name, first.number, first.created) == ("hello-00001", 1, 5.0)
    assert rollout.next_revision(deployed(None), "hello", TEMPLATE, 6.0).name == "hello-00002"


def test_a_ready_revision_gets_the_latest_traffic() -> None:
    service = deployed(deployed(None))
    assert rollout.splits(service) == (Split(revision="hello-00002", percent=100),)
    assert rollout.reachable(service) == {"hello-00002"}


def test_a_failed_revision_changes_nothing_but_uses_up_its_number() -> None:
    service = deployed(None)
    revision = rollout.next_revision(service, "hello", TEMPLATE, 2.0)
    after = rollout.failed(service, revision)
    assert msgspec.structs.replace(after, generation=1) == service
    assert rollout.next_revision(after, "hello", TEMPLATE, 3.0).name == "hello-00003"


def test_without_traffic_the_old_revision_goes_on_serving_also_after_later_deploys() -> None:
    service = deployed(None)
    quiet = deployed(service, rollout.pinned(service, "hello"))
    assert rollout.splits(quiet) == (Split(revision="hello-00001", percent=100),)
    assert rollout.splits(deployed(quiet)) == (Split(revision="hello-00001", percent=100),)


def test_a_first_deploy_without_traffic_is_refused() -> None:
    with pytest.raises(rollout.NothingToKeep, match="hello has no revision that serves yet"):
        rollout.pinned(None, "hello")


def test_a_tag_without_percent_is_reachable_and_a_plain_zero_is_not() -> None:
    traffic = (Target(), Target(revision="a", percent=0, tag="t"), Target(revision="b", percent=0))
    assert rollout.reachable(deployed(None, traffic)) == {"hello-00001", "a"}


def test_a_service_without_a_ready_revision_has_no_split() -> None:
    assert rollout.splits(Service(name="hello", created=1.0)) == ()


def test_an_unknown_revision_is_told_with_those_that_are_ready() -> None:
    traffic = (Target(percent=50), Target(revision="hello-00009", percent=50))
    [violation] = rollout.unknown_revisions(traffic, ["hello-00002", "hello-00001"], "spec.traffic")
    assert str(violation) == (
        "spec.traffic[1].revisionName: 'hello-00009' is not allowed; "
        "allowed: one of hello-00001, hello-00002"
    )


@st.composite
def traffics(draw: st.DrawFn) -> tuple[Target, ...]:
    """Generate splits of a hundred percent over latest and named revisions."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=3)))
    percents = [high - low for low, high in zip([0, *cuts], [*cuts, 100], strict=True)]
    revisions = st.sampled_from([None, "hello-00001", "hello-00002"])
    return tuple(Target(revision=draw(revisions), percent=percent) for percent in percents)


@given(traffics(), st.lists(st.sampled_from(["deploy", "quiet", "fail"]), max_size=8))
def test_every_request_always_has_a_revision_and_numbers_are_never_used_twice(
    traffic: tuple[Target, ...], deploys: list[str]
) -> None:
    service = deployed(deployed(None), traffic)
    seen = {"hello-00001", "hello-00002"}
    for what in deploys:
        before = rollout.splits(service)
        revision = rollout.next_revision(service, "hello", TEMPLATE, 1.0)
        assert revision.name not in seen
        seen.add(revision.name)
        if what == "fail":
            service = rollout.failed(service, revision)
            assert rollout.splits(service) == before
        elif what == "quiet":
            pinned = rollout.pinned(service, "hello")
            service = rollout.succeeded(service, revision, (), pinned)
            assert rollout.splits(service) == before
        else:
            service = rollout.succeeded(service, revision, ())
        assert sum(part.percent for part in rollout.splits(service)) == 100
        assert rollout.reachable(service) <= seen


def test_the_oldest_unreachable_revisions_are_retired() -> None:
    revisions = [
        rollout.next_revision(
            Service(name="hello", created=0, generation=number), "hello", TEMPLATE, 1
        )
        for number in range(rollout.RETIRED_KEPT + 5)
    ][::-1]
    pinned = Target(revision="hello-00001", percent=0, tag="first")
    service = Service(
        name="hello", created=0, traffic=(Target(), pinned), latest_ready=revisions[0].name
    )
    gone = [revision.number for revision in rollout.retired(service, revisions)]
    assert gone == [4, 3, 2]
    assert rollout.retired(service, revisions[:5]) == []
