"""dockerd is killed under load: what runs is served on, and what cannot be done is said."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from tests.deploy.running import Platform, start_platform, stop
from tests.deploy.steady import steady

from windlass.runtime.oci.kernel import unmount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.slow]

READY_WITHIN = 90.0  # seconds
GIVEN_UP_WITHIN = 30.0  # seconds: 15 without an end, and what a busy machine adds


@dataclass
class Engine:
    """A dockerd of the test's own, beside the machine's."""

    folder: Path
    bridge: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def start(self) -> None:
        """Start it, again if it gives up, and return when it answers; what ran before goes on.

        dockerd gives up after 15 seconds where it takes a containerd for alive that is about to
        end; whoever supervises it then starts it again.
        """
        words = ["dockerd", "--host", self.host, "--live-restore", "--bridge", self.bridge]
        words += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        words += ["--pidfile", f"{self.folder}/docker.pid", "--iptables=false", "--ip-masq=false"]
        log = self.folder / "dockerd.log"
        deadline = time.monotonic() + READY_WITHIN
        running = False
        while not running or self.docker("version").returncode:
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            if not running:
                with log.open("ab") as output:
                    started = subprocess.Popen(
                        words, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                    )
                self.processes.append(started)
            time.sleep(0.1)
            running = self.processes[-1].poll() is None

    def docker(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", "--host", self.host, *words], input=given, capture_output=True, check=False
        )

    def containers(self) -> int:
        """Return how many containers run."""
        return len(self.docker("ps", "--quiet").stdout.split())

    def kill(self) -> None:
        """Kill dockerd alone: containerd and the containers go on."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def stop(self) -> None:
        """End it with all its containers, and its containerd."""
        if self.processes[-1].poll() is not None:
            self.start()
        if ids := self.docker("ps", "--all", "--quiet").stdout.decode().split():
            self.docker("rm", "--force", *ids)
        containerd = self.folder / "exec/containerd/containerd.pid"
        pid = int(containerd.read_text()) if containerd.exists() else 0
        self.processes[-1].terminate()
        self.processes[-1].wait(30)
        if pid and is_containerd(pid, self.folder):  # started by a dockerd that was killed
            os.kill(pid, signal.SIGTERM)
            while is_containerd(pid, self.folder):
                time.sleep(0.05)


def is_containerd(pid: int, folder: Path) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsencode(folder) in file.read()
    except FileNotFoundError:
        return False


@pytest.fixture
def own_engine(engine: str, static_image: str) -> Iterator[Engine]:
    """An engine that may be killed, with the static image."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("an engine of one's own takes root and dockerd")
    name = f"wlt{token_hex(4)}"
    octets = os.urandom(2)
    address = f"10.{128 + octets[0] % 64}.{octets[1]}.1/24"
    # Unix sockets have short paths, and the engine's own are deep below its folder.
    own = Engine(Path("/tmp", name), name)
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        own.folder.mkdir(mode=0o700)
        try:
            own.start()
            words = ["docker", "save", static_image]
            saved = subprocess.run(words, capture_output=True, check=True).stdout
            assert own.docker("load", given=saved).returncode == 0
            yield own
        finally:
            own.stop()
            unmount(own.folder / "data")  # which an engine makes private for itself
            shutil.rmtree(own.folder)
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.fixture
async def platform_on_it(
    own_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    platform = await start_platform(tmp_path, "--runtime", "docker")
    yield platform
    await stop(platform)


async def test_a_killed_dockerd_costs_no_request_and_the_next_one_is_used(
    own_engine: Engine, platform_on_it: Platform, static_image: str
) -> None:
    platform = platform_on_it
    await platform.succeed(
        "deploy", "web", "--image", static_image, "--min-instances", "1", "--concurrency", "10"
    )
    before = {each["id"] for each in await platform.alive("web")}
    async with steady(platform, "web", "/?ms=50", 50) as load:
        await asyncio.sleep(1)
        await asyncio.to_thread(own_engine.kill)
        refused = await platform.run("deploy", "other", "--image", static_image)
        await asyncio.sleep(1)
        served = load.sent
        await asyncio.to_thread(own_engine.start)
        await asyncio.sleep(2)
    assert load.failed == {}
    assert load.sent > served > 50
    assert refused.returncode == 1
    assert "docker" in refused.stderr.lower()
    assert "Traceback" not in refused.stderr + platform.log()
    assert before <= {each["id"] for each in await platform.alive("web")}

    # More than the old instance takes: the new engine starts others.
    answers = await asyncio.gather(*(platform.get("web", "/?ms=1500") for _ in range(30)))
    assert {status for status, _ in answers} == {200}
    assert len(await platform.alive("web")) >= 3

    # And it tells how an instance ends that the old one started.
    [first] = before
    container = own_engine.docker("ps", "--quiet", "--filter", f"name={first}").stdout.split()[0]
    own_engine.docker("kill", container.decode())

    async def is_told() -> bool:
        events = await platform.json("events", "web")
        return any(e["kind"] == "InstanceFailed" and e["instance"] == first for e in events)

    await platform.until(is_told, 15)
    assert (await platform.get("web"))[0] == 200


async def test_a_stop_with_a_dead_dockerd_is_bounded_and_the_next_start_ends_what_it_left(
    own_engine: Engine, platform_on_it: Platform, static_image: str
) -> None:
    platform = platform_on_it
    await platform.succeed("deploy", "web", "--image", static_image, "--min-instances", "2")

    async def are_ready() -> bool:
        return [each["state"] for each in await platform.alive("web")] == ["ready"] * 2

    await platform.until(are_ready, 30)
    names = sorted(each["id"] for each in await platform.alive("web"))
    await asyncio.to_thread(own_engine.kill)
    platform.process.terminate()
    await asyncio.to_thread(platform.process.wait, GIVEN_UP_WITHIN)
    assert platform.process.returncode == 0
    log = platform.log()
    assert "waiting for instances to end" in log
    assert "instances are left behind" in log
    assert str(names) in log.rpartition("instances are left behind")[2]
    assert "Traceback" not in log

    await asyncio.to_thread(own_engine.start)
    assert own_engine.containers() == 2
    await platform.up_again()

    async def are_replaced() -> bool:
        alive = {each["id"] for each in await platform.alive("web")}
        return len(alive) == 2 and alive.isdisjoint(names) and own_engine.containers() == 2

    await platform.until(are_replaced, 30)
