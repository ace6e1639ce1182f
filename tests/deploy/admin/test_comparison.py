"""The comparison's side of the platform: settings from flags, a running platform as its target."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from windlass.bench.compare import Endpoint, Observed, Settings
from windlass.deploy.api.platform import Refused
from windlass.deploy.cli.comparison import PlatformTarget, endpoint, read_settings
from windlass.deploy.cli.faults import OperationFailed, WrongFlags
from windlass.deploy.cli.temporary import platform_at
from windlass.model.service import GIB, Mode

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
    assert read_settings("nginx", None, FLAGS) == Settings(image="nginx")


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
    assert read_settings("", "sleep 9", given) == Settings(
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
    with pytest.raises(WrongFlags) as caught:
        read_settings("nginx", None, FLAGS | wrong)
    for flag in ("--rate: '0'", "--clients: 'x'", "--duration: 'soon'", "--path: 'a'", "12Q"):
        assert flag in caught.value.message


@pytest.mark.parametrize(
    ("mode", "concurrency"), [(Mode.CLOUDRUN, 20), (Mode.LAMBDA, 1)], ids=["cloudrun", "lambda"]
)
async def test_a_service_is_deployed_in_its_mode_observed_and_deleted(
    client: Client, platform: MemoryPlatform, mode: Mode, concurrency: int
) -> None:
    target = PlatformTarget(client)
    found = await target.deploy("hello", Settings(image="nginx", concurrency=20), mode)
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
    )
    await target.delete("hello")
    await target.delete("hello")
    assert not platform.known


async def test_a_deploy_that_fails_ends_the_comparison(client: Client) -> None:
    with pytest.raises(Refused, match="It exited with 3"):
        await PlatformTarget(client).deploy("hello", Settings(image="crashing"), Mode.CLOUDRUN)


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
