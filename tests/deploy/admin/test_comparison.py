"""The comparison's side of the platform: settings from flags, a running platform as its target."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from windlass.bench.compare import Endpoint, Observed, Settings
from windlass.deploy.api.platform import Refused
from windlass.deploy.cli.faults import OperationFailed
from windlass.deploy.cli.temporary import platform_at
from windlass.deploy.comparison.settings import read, template_for
from windlass.deploy.comparison.target import PlatformTarget, endpoint, template_of
from windlass.model.budget import Action, Budget, Period
from windlass.model.service import GIB, Container, Limits, Mode, Scaling, Template

if TYPE_CHECKING:
    from tests.deploy.memory import MemoryPlatform

    from windlass.deploy.api.client import Client

FLAGS: dict[str, str | None] = {
    "rate": "100",
    "clients": None,
    "duration": "30s",
    "ramp": "5s",
    "path": "/",
    "concurrency": "80",
    "cpu": "1",
    "memory": "512Mi",
    "against": None,
}


def test_the_flags_defaults_are_the_settings() -> None:
    asked, wrong = read("nginx", None, FLAGS)
    assert asked.settings == Settings(image="nginx")
    assert wrong == []


def test_every_flag_has_its_setting() -> None:
    given = {
        "rate": "2.5",
        "clients": "7",
        "duration": "1m",
        "ramp": "0",
        "path": "/?ms=1",
        "concurrency": "3",
        "cpu": "500m",
        "memory": "1Gi",
        "against": "http://127.0.0.1:1",
    }
    asked, _ = read("", "sleep 9", given)
    assert asked.settings == Settings(
        exec=("sleep", "9"),
        rate=2.5,
        clients=7,
        duration=60,
        ramp=0,
        path="/?ms=1",
        concurrency=3,
        milli_cpu=500,
        memory=GIB,
        against="http://127.0.0.1:1",
    )


def test_all_wrong_flags_are_told_at_once() -> None:
    wrong = {"rate": "0", "clients": "x", "duration": "soon", "path": "a", "memory": "12Q"}
    _, found = read("nginx", None, FLAGS | wrong)
    told = "\n".join(map(str, found))
    for flag in ("--rate: '0'", "--clients: 'x'", "--duration: 'soon'", "--path: 'a'", "12Q"):
        assert flag in told


def test_a_service_lends_all_of_its_template_and_a_flag_goes_before_it() -> None:
    base = Template(
        container=Container(image="shop/cart", env=(("A", "1"),)),
        limits=Limits(concurrency=1, memory=GIB),
        scaling=Scaling(min_instances=2),
        budget=Budget(amount=Decimal(1), period=Period.DAY, action=Action.CAP),
        mode=Mode.LAMBDA,
    )
    given = dict.fromkeys(FLAGS) | {"rate": "5", "duration": "9", "ramp": "0", "cpu": "2"}
    asked, wrong = read("", None, given, "cart", base)
    assert wrong == []
    assert asked.settings == Settings(
        service="cart",
        image="shop/cart",
        rate=5,
        duration=9,
        ramp=0,
        concurrency=80,
        milli_cpu=2000,
        memory=GIB,
    )
    shared = template_for(asked, Mode.CLOUDRUN, 7)
    assert (shared.mode, shared.limits.concurrency) == (Mode.CLOUDRUN, 80)
    assert shared.container.env == (("A", "1"),)
    assert shared.scaling == Scaling(max_instances=7)
    assert shared.budget is None
    assert template_for(asked, Mode.LAMBDA, 7).limits.concurrency == 1


@pytest.mark.parametrize(
    ("mode", "concurrency"), [(Mode.CLOUDRUN, 20), (Mode.LAMBDA, 1)], ids=["cloudrun", "lambda"]
)
async def test_a_service_is_deployed_in_its_mode_observed_and_deleted(
    client: Client, platform: MemoryPlatform, mode: Mode, concurrency: int
) -> None:
    asked, _ = read("nginx", None, FLAGS | {"concurrency": "20"})
    target = PlatformTarget(client, asked)
    found = await target.deploy("hello", asked.settings, mode)
    assert found == Endpoint("127.0.0.1", 8080, "hello.localhost:8080")
    template = platform.revisions["hello-00001"].template
    assert (template.mode, template.limits.concurrency) == (mode, concurrency)
    assert await target.observe("hello") == Observed(
        cold_starts=0,
        peak_instances=2,
        billed_instance_seconds=Decimal("2.5"),
        cost=Decimal("0.0006"),
        request_fees=Decimal("0.0004"),
        instances_now=1,
        starts=(0.5,),
    )
    await target.delete("hello")
    await target.delete("hello")
    assert not platform.known


async def test_a_deploy_that_fails_ends_the_comparison(client: Client) -> None:
    asked, _ = read("crashing", None, FLAGS)
    with pytest.raises(Refused, match="It exited with 3"):
        await PlatformTarget(client, asked).deploy("hello", asked.settings, Mode.CLOUDRUN)


async def test_a_service_that_is_not_there_cannot_be_compared(client: Client) -> None:
    with pytest.raises(Refused, match="no service"):
        await template_of(client, "nothing")


@pytest.mark.parametrize(
    ("http", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("0.0.0.0:81", "127.0.0.1", 81), ("[::]:82", "::1", 82)],
)
def test_what_listens_everywhere_is_called_on_loopback(http: str, host: str, port: int) -> None:
    assert endpoint(http, "http://a.localhost:80") == Endpoint(host, port, "a.localhost:80")


def test_no_platform_is_started_where_one_was_named() -> None:
    with platform_at("http://127.0.0.1:1", start=False, runtime="process") as address:
        assert address == "http://127.0.0.1:1"


@pytest.mark.slow
def test_a_platform_that_does_not_come_up_is_said_with_its_last_words() -> None:
    with (
        pytest.raises(OperationFailed) as caught,
        platform_at("http://127.0.0.1:1", start=True, runtime="nonsense"),
    ):
        pass
    assert caught.value.message.startswith("The platform did not come up:\n  ")
    assert "'nonsense' is not one of" in caught.value.message
