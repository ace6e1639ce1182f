"""gcloud's flags become a template on top of what the service has."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.cli.flags import (
    FlagReader,
    Flags,
    read_list,
    read_pairs,
    read_percents,
    read_template,
)
from windlass.deploy.quantity import BadQuantity
from windlass.model.budget import Action, Budget, Period
from windlass.model.service import GIB, Container, Limits, Mode, Probe, Scaling, Target, Template

BASE = Template(
    container=Container(
        image="old", command=("run",), env=(("A", "1"),), port=9000, startup_probe=Probe(period=1)
    ),
    limits=Limits(concurrency=5, milli_cpu=2000),
    scaling=Scaling(min_instances=1, max_instances=3),
    labels=(("team", "core"),),
)


def template(flags: Flags, base: Template | None = None) -> Template:
    found, wrong = read_template(flags, base)
    assert wrong == []
    return found


def faults(flags: Flags, base: Template | None = None) -> list[str]:
    return [str(violation) for violation in read_template(flags, base)[1]]


def test_a_first_deploy_has_the_defaults() -> None:
    assert template(Flags(image="nginx")) == Template(container=Container(image="nginx"))


def test_every_flag_has_its_field() -> None:
    found = template(
        Flags(
            image="nginx",
            port="80",
            concurrency="7",
            cpu="500m",
            memory="1Gi",
            min_instances="2",
            max_instances="9",
            timeout="5m",
            set_env_vars="A=1,B=x=y",
            command="sh,-c",
            args="exec nginx",
            window="6s",
            scale_to_zero_grace="1s",
        )
    )
    runs = found.container
    assert (runs.port, runs.env) == (80, (("A", "1"), ("B", "x=y")))
    assert (runs.command, runs.args) == (("sh", "-c"), ("exec nginx",))
    assert found.limits == Limits(concurrency=7, milli_cpu=500, memory=GIB, timeout=300)
    assert found.scaling == Scaling(
        min_instances=2,
        max_instances=9,
        stable_window=6,
        panic_window=0.6,
        scale_to_zero_grace=1,
    )


def test_what_is_not_given_stays_as_it_is() -> None:
    assert template(Flags(), BASE) == BASE
    found = template(Flags(image="new", concurrency="6"), BASE)
    assert (found.container.image, found.container.command) == ("new", ("run",))
    assert (found.container.port, found.limits.milli_cpu) == (9000, 2000)
    assert found.limits.concurrency == 6


def test_an_empty_list_takes_away_what_was_there() -> None:
    found = template(Flags(command="", set_env_vars=""), BASE)
    assert (found.container.command, found.container.env) == ((), ())


def test_a_command_line_takes_the_place_of_image_and_command() -> None:
    found = template(Flags(exec="python3 -m 'my app'"), BASE)
    assert found.container.exec == ("python3", "-m", "my app")
    assert (found.container.image, found.container.command) == ("", ())
    back = template(Flags(image="nginx"), found)
    assert (back.container.image, back.container.exec) == ("nginx", ())


def test_a_change_of_mode_brings_its_concurrency() -> None:
    found = template(Flags(mode="lambda"), BASE)
    assert (found.mode, found.limits.concurrency) == (Mode.LAMBDA, 1)
    assert template(Flags(mode="cloudrun"), found).limits.concurrency == 80
    assert template(Flags(mode="cloudrun"), BASE).limits.concurrency == 5


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (Flags(), "--image: '' is not allowed; allowed: either an image or --exec"),
        (
            Flags(image="a", exec="b"),
            "--image: 'a and b' is not allowed; allowed: either an image or --exec",
        ),
        (
            Flags(exec="a", args="b"),
            "--exec: 'b' is not allowed; allowed: one whole command line, without args",
        ),
        (
            Flags(image="a", exec="a 'b"),
            '--exec: "a \'b" is not allowed; allowed: a command line; check its quotes',
        ),
        (
            Flags(image="a", memory="12Q"),
            "--memory: '12Q' is not allowed; "
            "allowed: bytes such as 512Mi, 1Gi, 500M, 1G or 536870912",
        ),
        (
            Flags(image="a", concurrency="0"),
            "--concurrency: '0' is not allowed; "
            "allowed: 1 to 1000 (0, which is unlimited in Knative, is not to be had here)",
        ),
        (
            Flags(image="a", concurrency="two"),
            "--concurrency: 'two' is not allowed; allowed: a whole number",
        ),
        (
            Flags(image="a", mode="lambda", concurrency="2"),
            "--concurrency: '2' is not allowed; allowed: 1 in lambda mode, or leave it out",
        ),
        (Flags(image="a", port="70000"), "--port: '70000' is not allowed; allowed: 1 to 65535"),
        (Flags(image="a", timeout="2h"), "--timeout: '7200s' is not allowed; allowed: 1s to 3600s"),
        (
            Flags(image="a", min_instances="3", max_instances="2"),
            "--min-instances: '3' is not allowed; allowed: at most --max-instances (2)",
        ),
        (
            Flags(image="a", set_env_vars="A,B=1"),
            "--set-env-vars: 'A,B=1' is not allowed; allowed: KEY=VALUE,KEY=VALUE, "
            "or ^;^KEY=VALUE;KEY=VALUE where values have commas",
        ),
        (
            Flags(image="a", set_env_vars="K_SERVICE=1"),
            "--set-env-vars: 'K_SERVICE' is not allowed; "
            "allowed: other names: the platform sets this one",
        ),
    ],
)
def test_a_wrong_flag_is_told_by_name_value_and_what_is_allowed(flags: Flags, fault: str) -> None:
    assert faults(flags) == [fault]


def test_all_wrong_flags_are_told_at_once_and_each_once() -> None:
    wrong = faults(Flags(memory="12Q", cpu="none", concurrency="1001"))
    assert [fault.partition(":")[0] for fault in wrong] == [
        "--cpu",
        "--memory",
        "--image",
        "--concurrency",
    ]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        ("a,b", ("a", "b")),
        ("^;^a,b;c", ("a,b", "c")),
        ("^::^a:b::c", ("a:b", "c")),
        ("^a", ("^a",)),
        ("^^a,b", ("^^a", "b")),
        ("^;^", ()),
    ],
)
def test_a_list_is_read_as_gcloud_reads_it(text: str, items: tuple[str, ...]) -> None:
    assert read_list(text) == items


def test_percents_name_revisions_or_the_latest() -> None:
    assert read_percents("LATEST=10,hello-00001=90") == (
        Target(percent=10),
        Target(revision="hello-00001", percent=90),
    )
    with pytest.raises(BadQuantity):
        read_percents("LATEST=half")


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(), max_size=5))
def test_variables_survive_any_separator_that_they_do_not_contain(pairs: dict[str, str]) -> None:
    separator = "\0"
    text = separator.join(f"{key}={value}" for key, value in pairs.items())
    if separator not in "".join(pairs.values()):
        assert dict(read_pairs(f"^{separator}^{text}")) == pairs


def test_a_flag_that_is_not_given_is_none_and_no_fault() -> None:
    reader = FlagReader()
    assert reader.take("--x", None, read_list) is None
    assert reader.wrong == []


@pytest.mark.parametrize("wanted", [True, False])
def test_flags_with_two_forms_are_kept_until_the_other_is_given(wanted: bool) -> None:
    given = template(Flags(use_http2=wanted, session_affinity=wanted), BASE)
    assert given.container.protocol == ("h2c" if wanted else "http1")
    assert given.session_affinity is wanted
    assert template(Flags(port="1"), given).session_affinity is wanted
    assert template(Flags(port="1"), given).container.protocol == given.container.protocol


def test_a_budget_is_an_amount_and_a_period_and_is_kept_until_it_is_taken_away() -> None:
    given = template(Flags(budget="$5.50/day"), BASE)
    assert given.budget == Budget(amount=Decimal("5.5"), period=Period.DAY)
    capped = template(Flags(budget_action="cap"), given)
    assert capped.budget == Budget(amount=Decimal("5.5"), period=Period.DAY, action=Action.CAP)
    assert template(Flags(budget="1/hour"), capped).budget == Budget(
        amount=Decimal(1), period=Period.HOUR, action=Action.CAP
    )
    assert template(Flags(port="1"), capped).budget == capped.budget
    assert template(Flags(budget="none"), capped).budget is None


@pytest.mark.parametrize("text", ["5", "5/week", "0/day", "-1/day", "x/day", "5 /day", "1e3/day"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    [fault] = faults(Flags(budget=text), BASE)
    assert fault.startswith(f"--budget: {text!r} is not allowed; allowed: an amount above 0")


def test_an_action_needs_a_budget() -> None:
    [fault] = faults(Flags(budget_action="cap"), BASE)
    assert fault.startswith("--budget-action: 'cap' is not allowed; allowed: --budget besides")
