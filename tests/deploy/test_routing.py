"""The routing table that workers get."""

from __future__ import annotations

from windlass.deploy.routing import routes
from windlass.model.service import (
    Container,
    Limits,
    Mode,
    Revision,
    Scaling,
    Service,
    Target,
    Template,
)
from windlass.router.link import RevisionRoute, Routes, Split


def table(template: Template, average_start: float | None = None, refusal: str = "") -> Routes:
    revision = Revision(name="web-00001", service="web", number=1, created=0, template=template)
    service = Service(
        name="web",
        created=0,
        traffic=(Target(percent=90), Target(revision="web-00000", percent=10, tag="old")),
        latest_ready="web-00001",
    )
    return routes(
        [service], [revision], lambda _: average_start, lambda _: refusal, ("localhost",), "web", 1
    )


def route(template: Template, average_start: float | None = None) -> RevisionRoute:
    return table(template, average_start).revisions[0]


CONTAINER = Container(image="nginx")


def test_latest_is_resolved_in_the_split() -> None:
    found = table(Template(container=CONTAINER))
    assert found.services[0].splits == (
        Split(revision="web-00001", percent=90),
        Split(revision="web-00000", percent=10, tag="old"),
    )
    assert (found.domains, found.default_service) == (("localhost",), "web")


def test_instances_are_filled_up_to_what_is_aimed_at_whatever_part_of_it_scaling_waits_for() -> (
    None
):
    assert route(Template(container=CONTAINER)).target == 80
    aimed = Template(container=CONTAINER, scaling=Scaling(target=10, target_utilization=0.5))
    assert route(aimed).target == 10
    least = Template(container=CONTAINER, limits=Limits(concurrency=1))
    assert route(least).target == 1


def test_lambda_mode_has_one_request_per_instance_whatever_the_limits_say() -> None:
    found = route(Template(container=CONTAINER, mode=Mode.LAMBDA))
    assert (found.concurrency, found.target, found.shadow_concurrency) == (1, 1, 80)


def test_what_is_refused_instances_has_no_place_for_a_request_and_says_why() -> None:
    found = table(Template(container=CONTAINER, mode=Mode.LAMBDA), refusal="spent").revisions[0]
    assert (found.max_instances, found.refusal) == (0, "spent")


def test_requests_wait_ten_seconds_or_three_and_a_half_starts() -> None:
    template = Template(container=CONTAINER)
    assert [route(template, start).queue_wait for start in (None, 1.0, 10.0)] == [10, 10, 35]
