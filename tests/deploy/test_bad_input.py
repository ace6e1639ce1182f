"""Bad input gets a clear error that names the next step, and changes nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HELLO = f"{sys.executable} examples/hello/server.py"


async def refused(platform: Platform, *words: str) -> str:
    """Run a command that must fail; return its complaint after checking that nothing changed."""
    before = await platform.json("services", "list")
    done = await platform.run(*words)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert await platform.json("services", "list") == before
    return done.stderr


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--concurrency", "0"), ("--concurrency", "0", "1", "1000")),
        (("--concurrency", "1001"), ("--concurrency", "1001", "1000")),
        (("--memory", "12Q"), ("--memory", "12Q", "Mi")),
        (("--cpu", "none"), ("--cpu", "none")),
        (("--port", "70000"), ("--port", "70000", "65535")),
        (("--min-instances", "3", "--max-instances", "2"), ("3", "2")),
        (("--timeout", "2h"), ("--timeout", "3600")),
    ],
)
async def test_a_wrong_flag_is_named_with_its_value_and_what_is_allowed(
    process_platform: Platform, flags: tuple[str, ...], named: tuple[str, ...]
) -> None:
    complaint = await refused(process_platform, "deploy", "bad", "--exec", HELLO, *flags)
    for word in named:
        assert word in complaint


async def test_a_command_that_exits_at_once_is_refused_with_its_last_words(
    process_platform: Platform,
) -> None:
    command = f"{sys.executable} -c \"import sys; print('no such database'); sys.exit(7)\""
    complaint = await refused(process_platform, "deploy", "bad", "--exec", command)
    assert "no such database" in complaint
    assert "7" in complaint


async def test_a_command_that_is_not_there_is_refused(process_platform: Platform) -> None:
    complaint = await refused(process_platform, "deploy", "bad", "--exec", "/no/such/program")
    assert "/no/such/program" in complaint


async def test_malformed_yaml_is_refused_with_its_line(
    process_platform: Platform, tmp_path: Path
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("apiVersion: serving.knative.dev/v1\nkind: [Service\n")
    complaint = await refused(process_platform, "apply", "-f", str(file))
    assert "line" in complaint


async def test_a_wrong_field_is_named_with_its_path(
    process_platform: Platform, tmp_path: Path
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(
        "apiVersion: serving.knative.dev/v1\n"
        "kind: Service\n"
        "metadata: {name: bad}\n"
        "spec:\n"
        "  template:\n"
        "    spec:\n"
        "      containerConcurrency: 1001\n"
        "      containers:\n"
        "      - image: x\n"
        "        ports: [{containerPort: 99999}]\n"
    )
    complaint = await refused(process_platform, "apply", "-f", str(file))
    assert "spec.template.spec.containers[0].ports[0]" in complaint
    assert "99999" in complaint
    assert "spec.template.spec.containerConcurrency" in complaint


@pytest.mark.engine
async def test_an_image_that_does_not_exist_is_refused(docker_platform: Platform) -> None:
    complaint = await refused(docker_platform, "deploy", "bad", "--image", "windlass/no-such:1")
    assert "windlass/no-such:1" in complaint


@pytest.mark.engine
async def test_an_image_that_exits_at_once_is_refused_with_its_last_words(
    docker_platform: Platform, hello_image: str
) -> None:
    complaint = await refused(
        docker_platform, "deploy", "bad", "--image", hello_image,
        "--command", "python3", "--args", "^|^-c|print('cannot go on'); raise SystemExit(3)",
    )  # fmt: skip
    assert "cannot go on" in complaint
    assert "3" in complaint


@pytest.mark.engine
async def test_an_image_that_never_listens_is_refused(
    docker_platform: Platform, hello_image: str, tmp_path: Path
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(
        "apiVersion: serving.knative.dev/v1\n"
        "kind: Service\n"
        "metadata: {name: bad}\n"
        "spec:\n"
        "  template:\n"
        "    spec:\n"
        "      containers:\n"
        f"      - image: {hello_image}\n"
        "        command: [sleep]\n"
        "        args: ['1000']\n"
        "        startupProbe: {tcpSocket: {}, periodSeconds: 1, failureThreshold: 2}\n"
    )
    complaint = await refused(docker_platform, "apply", "-f", str(file))
    assert "8080" in complaint


@pytest.mark.parametrize("option", ["--http", "--admin"])
def test_a_port_in_use_is_said_and_nothing_is_left_running(option: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ports = {"--http": f"127.0.0.1:{free_port()}", "--admin": f"127.0.0.1:{free_port()}"}
        ports[option] = address
        words = [word for pair in ports.items() for word in pair]
        done = subprocess.run(
            [sys.executable, "-m", "windlass.deploy.cli", "up", "--runtime", "process",
             "--state", str(tmp_path), *words],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert address in done.stderr
    assert option in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stopped_docker_is_said_with_the_next_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "windlass.deploy.cli", "up", "--runtime", "docker",
         "--state", str(tmp_path), "--http", f"127.0.0.1:{free_port()}",
         "--admin", f"127.0.0.1:{free_port()}"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/no.sock"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no.sock" in done.stderr
    assert "dockerd" in done.stderr or "systemctl start docker" in done.stderr
    assert "Traceback" not in done.stderr
