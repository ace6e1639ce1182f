"""The rules of names, templates and traffic, and the words in which a fault is told."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.validation import (
    check_labels,
    check_name,
    check_template,
    check_traffic,
    field_names,
)
from windlass.model.service import MIB, Container, Limits, Mode, Probe, Scaling, Target, Template

NAMES = field_names({"limits.concurrency": "--concurrency", "limits.memory": "--memory"})
PLAIN = Template(container=Container(image="nginx"))


def faults(template: Template) -> list[str]:
    return [str(violation) for violation in check_template(template, NAMES)]


def limited(**changes: object) -> Template:
    limits = Limits(**changes)  # type: ignore[arg-type]  # any field
    return msgspec.structs.replace(PLAIN, limits=limits)


def scaled(**changes: object) -> Template:
    scaling = Scaling(**changes)  # type: ignore[arg-type]  # any field
    return msgspec.structs.replace(PLAIN, scaling=scaling)


def contained(**changes: object) -> Template:
    container = msgspec.structs.replace(PLAIN.container, **changes)
    return msgspec.structs.replace(PLAIN, container=container)


def test_the_defaults_are_right() -> None:
    assert faults(PLAIN) == []


@pytest.mark.parametrize("concurrency", [0, 1001, -1])
def test_a_concurrency_out_of_range_names_flag_value_and_range(concurrency: int) -> None:
    assert faults(limited(concurrency=concurrency)) == [
        f"--concurrency: '{concurrency}' is not allowed; "
        "allowed: 1 to 1000 (0, which is unlimited in Knative, is not to be had here)"
    ]


def test_lambda_mode_serves_one_request_at_a_time() -> None:
    template = msgspec.structs.replace(PLAIN, mode=Mode.LAMBDA)
    assert faults(template) == [
        "--concurrency: '80' is not allowed; allowed: 1 in lambda mode, or leave it out"
    ]
    assert faults(msgspec.structs.replace(template, limits=Limits(concurrency=1))) == []


def test_too_little_memory_is_told_as_a_quantity() -> None:
    assert faults(limited(memory=4 * MIB)) == [
        "--memory: '4Mi' is not allowed; allowed: 16Mi to 1Ti"
    ]


@pytest.mark.parametrize(
    ("template", "field"),
    [
        (limited(milli_cpu=0), "limits.milli_cpu"),
        (limited(timeout=3601), "limits.timeout"),
        (limited(timeout=0), "limits.timeout"),
        (limited(timeout=math.nan), "limits.timeout"),
        (limited(startup_timeout=0), "limits.startup_timeout"),
        (scaled(min_instances=-1), "scaling.min_instances"),
        (scaled(max_instances=0), "scaling.max_instances"),
        (scaled(target=0), "scaling.target"),
        (scaled(target_utilization=1.5), "scaling.target_utilization"),
        (scaled(stable_window=0), "scaling.stable_window"),
        (scaled(panic_window=61), "scaling.panic_window"),
        (scaled(panic_threshold=1), "scaling.panic_threshold"),
        (scaled(scale_down_delay=-1), "scaling.scale_down_delay"),
        (scaled(scale_to_zero_grace=math.inf), "scaling.scale_to_zero_grace"),
        (contained(port=0), "container.port"),
        (contained(port=65536), "container.port"),
        (contained(image=""), "container.image"),
        (contained(image="nginx latest"), "container.image"),
        (contained(exec=("true",)), "container.image"),
        (contained(user=-1), "container.user"),
        (contained(working_dir="tmp"), "container.working_dir"),
        (contained(env=(("PORT", "1"),)), "container.env"),
        (contained(env=(("A=B", "1"),)), "container.env"),
        (contained(env=(("A", "\0"),)), "container.env"),
        (contained(startup_probe=Probe(period=0)), "container.startup_probe.periodSeconds"),
        (contained(liveness_probe=Probe(timeout=11)), "container.liveness_probe.timeoutSeconds"),
        (contained(readiness_probe=Probe(port=70000)), "container.readiness_probe.port"),
        (contained(startup_probe=Probe(kind="http", path="x")), "container.startup_probe.path"),
        (contained(liveness_probe=Probe(grpc_service="a\n")), "container.liveness_probe.service"),
        (
            contained(startup_probe=Probe(grpc_service="a" * 1001)),
            "container.startup_probe.service",
        ),
        (msgspec.structs.replace(PLAIN, labels=(("a b", ""),)), "labels"),
    ],
)
def test_one_fault_is_found_once_in_its_field(template: Template, field: str) -> None:
    assert [violation.path for violation in check_template(template, NAMES)] == [field]


def test_more_instances_at_least_than_at_most_are_refused() -> None:
    assert faults(scaled(min_instances=5, max_instances=3)) == [
        "scaling.min_instances: '5' is not allowed; allowed: at most scaling.max_instances (3)"
    ]


def test_all_faults_are_told_at_once() -> None:
    template = msgspec.structs.replace(
        contained(port=0), limits=Limits(concurrency=0, memory=1), scaling=Scaling(max_instances=0)
    )
    assert len(faults(template)) == 4


@pytest.mark.parametrize("name", ["a", "hello", "a-1", "a" * 49])
def test_a_good_name_is_taken(name: str) -> None:
    assert check_name(name, "name") == []


@pytest.mark.parametrize("name", ["", "A", "1a", "a-", "-a", "a.b", "a_b", "a" * 50, "ä", "a\n"])
def test_a_bad_name_is_refused(name: str) -> None:
    assert [violation.value for violation in check_name(name, "name")] == [name]


def test_traffic_adds_up_to_a_hundred() -> None:
    assert check_traffic((Target(),), "traffic") == []
    [violation] = check_traffic((Target(percent=60), Target(revision="a", percent=30)), "traffic")
    assert str(violation) == (
        "traffic: '90 percent' is not allowed; allowed: percents that add up to 100"
    )


def test_a_tag_is_given_once_and_is_a_name() -> None:
    traffic = (Target(tag="b"), Target(percent=0, tag="b"), Target(percent=0, tag="B"))
    assert [violation.path for violation in check_traffic(traffic, "t")] == [
        "t[0].tag",
        "t[1].tag",
        "t[2].tag",
    ]


def test_a_percent_is_at_most_a_hundred() -> None:
    traffic = (Target(percent=150), Target(percent=-50))
    assert [str(violation) for violation in check_traffic(traffic, "t")] == [
        "t[0].percent: '150' is not allowed; allowed: 0 to 100",
        "t[1].percent: '-50' is not allowed; allowed: 0 to 100",
    ]


@given(st.text(max_size=60))
def test_any_name_is_taken_or_refused_with_its_value(name: str) -> None:
    violations = check_name(name, "name")
    assert not violations or violations[0].value == name


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_label_is_judged(key: str, value: str) -> None:
    assert len(check_labels([(key, value)], "labels")) <= 2
