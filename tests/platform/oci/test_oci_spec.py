"""A container, its image and its limits as an OCI specification."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.model.service import MIB, Container, Limits
from windlass.runtime.oci import spec
from windlass.runtime.oci.spec import ImageConfig
from windlass.runtime.oci.users import Identity

IMAGE = ImageConfig(entrypoint=("/entry",), cmd=("a", "b"), env=("PATH=/x", "A=1=2", "EMPTY="))


def made(
    container: Container | None = None, limits: Limits | None = None, *, swap: bool = True
) -> dict[str, object]:
    place = spec.Place(
        root=Path("/r"),
        netns=Path("/n"),
        cgroup="/c/x",
        hostname="h",
        files=((Path("/f"), "/etc/hosts"),),
        identity=Identity(5, 6, (6, 7)),
        seccomp={"defaultAction": "x"},
        swap_limit=swap,
    )
    return spec.specification(
        container or Container(), limits or Limits(), ["/a"], {"A": "1"}, "/w", place
    )


def part(specification: object, *path: str) -> object:
    for key in path:
        specification = msgspec.convert(specification, dict[str, object])[key]
    return specification


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ["/entry", "a", "b"]),
        ((), ("c",), ["/entry", "c"]),
        (("/own",), (), ["/own"]),
        (("/own",), ("c",), ["/own", "c"]),
    ],
)
def test_command_and_args_replace_entrypoint_and_cmd_as_in_kubernetes(
    command: tuple[str, ...], args: tuple[str, ...], expected: list[str]
) -> None:
    assert spec.arguments(Container(command=command, args=args), IMAGE) == expected


def test_an_image_with_an_entrypoint_and_no_cmd_runs_it() -> None:
    assert spec.arguments(Container(), ImageConfig(entrypoint=("/only",))) == ["/only"]


def test_nothing_to_run_is_a_fault() -> None:
    with pytest.raises(spec.NothingToRun):
        spec.arguments(Container(), ImageConfig())


def test_the_contracts_names_win_over_the_services_and_those_over_the_images() -> None:
    container = Container(env=(("A", "own"), ("PORT", "1"), ("K_SERVICE", "x")), port=99)
    env = spec.environment(container, IMAGE, "web", "web-00001")
    assert env == {
        "PATH": "/x",
        "A": "own",
        "EMPTY": "",
        "PORT": "99",
        "K_SERVICE": "web",
        "K_REVISION": "web-00001",
        "K_CONFIGURATION": "web",
    }


def test_an_image_without_a_path_gets_one() -> None:
    assert "/usr/bin" in spec.environment(Container(), ImageConfig(), "s", "r")["PATH"]


def test_limits_are_the_kernels_and_leave_no_swap() -> None:
    specification = made(limits=Limits(memory=64 * MIB, milli_cpu=1500))
    resources = part(specification, "linux", "resources")
    assert part(resources, "memory") == {"limit": 64 * MIB, "swap": 64 * MIB}
    assert part(resources, "cpu") == {"shares": 1536, "quota": 150_000, "period": 100_000}
    assert part(resources, "pids") == {"limit": spec.PIDS}


def test_a_kernel_without_swap_accounting_gets_no_swap_limit() -> None:
    assert "swap" not in msgspec.convert(
        part(made(swap=False), "linux", "resources", "memory"), dict[str, int]
    )


@given(st.integers(1, 64_000))
def test_every_cpu_limit_is_one_that_the_kernel_takes(milli_cpu: int) -> None:
    assert spec.cpu_quota(milli_cpu) >= 1000
    cpu = part(made(limits=Limits(milli_cpu=milli_cpu)), "linux", "resources", "cpu")
    assert msgspec.convert(cpu, dict[str, int])["shares"] >= 2


def test_tmp_is_in_memory_and_no_larger_than_the_limit() -> None:
    mounts = msgspec.convert(
        part(made(limits=Limits(memory=7 * MIB)), "mounts"), list[dict[str, object]]
    )
    (tmp,) = [mount for mount in mounts if mount["destination"] == "/tmp"]
    assert tmp["type"] == "tmpfs"
    assert f"size={7 * MIB}" in msgspec.convert(tmp["options"], list[str])


def test_nothing_of_the_machine_is_shared() -> None:
    specification = made()
    spaces = msgspec.convert(part(specification, "linux", "namespaces"), list[dict[str, str]])
    kinds = {space["type"] for space in spaces}
    assert kinds == {"pid", "ipc", "uts", "mount", "cgroup", "network"}
    assert part(specification, "process", "noNewPrivileges") is True
    assert part(specification, "process", "terminal") is False
    assert "rlimits" not in msgspec.convert(part(specification, "process"), dict[str, object])
    assert part(specification, "process", "user") == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}


def test_the_services_working_folder_wins_over_the_images() -> None:
    assert part(made(), "process", "cwd") == "/w"
    assert part(made(Container(working_dir="/own")), "process", "cwd") == "/own"
