from __future__ import annotations

import asyncio
import secrets
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aiodocker
import pytest
from tests.images import BASE, build_from

from windlass.model.instance import Exit
from windlass.model.service import MIB, Container, Limits
from windlass.runtime.base import (
    Ended,
    ImageMissing,
    RuntimeFault,
    RuntimeUnavailable,
    Start,
    StartFailed,
)
from windlass.runtime.docker import Docker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from windlass.model.instance import Address

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SERVER = (
    "import os, socket\n"
    "s = socket.create_server(('', int(os.environ['PORT'])))\n"
    "print('listening', flush=True)\n"
    "while True: s.accept()[0].sendall(b'hello')"
)


def request_of(
    *command: str, instance: str = "web-00001-abcde", memory: int = 256 * MIB, **container: object
) -> Start:
    words: dict[str, Any] = {"image": BASE, "command": command, **container}
    return Start(
        instance=instance,
        revision="web-00001",
        service="web",
        container=Container(**words),
        limits=Limits(memory=memory, milli_cpu=1500),
    )


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


@dataclass
class Platform:
    """A docker runtime, what it reports, and the engine's own view beside it."""

    runtime: Docker
    state_id: str
    ends: AsyncIterator[Ended]
    engine: aiodocker.Docker

    async def end(self) -> Ended:
        async with asyncio.timeout(20):
            return await anext(self.ends)

    async def lines(self, instance: str = "web-00001-abcde") -> list[str]:
        """Return all lines of an instance that ends by itself."""
        async with asyncio.timeout(20):
            return [line.text async for line in self.runtime.logs(instance)]

    async def wait_for_line(self, text: str, instance: str = "web-00001-abcde") -> None:
        async with asyncio.timeout(20):
            async for line in self.runtime.logs(instance):
                if line.text == text:
                    return

    def container(self, instance: str = "web-00001-abcde") -> aiodocker.containers.DockerContainer:
        return self.engine.containers.container(f"windlass-{self.state_id}-{instance}")

    async def containers(self) -> list[str]:
        return await containers_of(self.engine, self.state_id)


async def containers_of(engine: aiodocker.Docker, state_id: str) -> list[str]:
    chosen = f'{{"label": ["dev.windlass.state={state_id}"]}}'
    listed = await engine.containers.list(all=True, filters=chosen)
    return sorted(container["Labels"]["dev.windlass.instance"] for container in listed)


@pytest.fixture
async def platform(engine: str) -> AsyncIterator[Platform]:
    state_id = f"test-{secrets.token_hex(6)}"
    client = aiodocker.Docker()
    runtime = Docker(state_id)
    await runtime.open()
    yield Platform(runtime, state_id, runtime.ended(), client)
    for instance in await containers_of(client, state_id):
        await runtime.remove(instance)
    await runtime.close()
    await client.close()


async def answer_at(address: Address) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_an_instance_gets_the_contracts_environment(platform: Platform) -> None:
    names = "PORT K_SERVICE K_REVISION K_CONFIGURATION USERS a.b"
    code = f"import os\nfor n in '{names}'.split(): print(n, os.environ[n])"
    env = (("USERS", "1"), ("a.b", "x=y z"), ("PORT", "1"), ("K_SERVICE", "2"))
    await platform.runtime.start(request_of("python3", "-c", code, env=env, port=9000))
    assert await platform.lines() == [
        "PORT 9000",
        "K_SERVICE web",
        "K_REVISION web-00001",
        "K_CONFIGURATION web",
        "USERS 1",
        "a.b x=y z",
    ]


async def test_an_instance_answers_at_its_own_address(platform: Platform) -> None:
    running = await platform.runtime.start(request_of("python3", "-c", SERVER, port=9000))
    await platform.wait_for_line("listening")
    assert await answer_at(running.address) == b"hello"
    assert (running.instance, running.revision, running.service) == (
        "web-00001-abcde",
        "web-00001",
        "web",
    )


async def test_an_instance_answers_at_a_published_port(platform: Platform) -> None:
    runtime = Docker(platform.state_id, publish=True)
    await runtime.open()
    running = await runtime.start(request_of("python3", "-c", SERVER, port=9000))
    assert running.address.host == "127.0.0.1"
    await platform.wait_for_line("listening")
    assert await answer_at(running.address) == b"hello"
    [adopted] = await platform.runtime.adopt()
    assert adopted == running
    await runtime.close()


async def test_command_arguments_directory_user_and_empty_input(platform: Platform) -> None:
    script = 'pwd; read -r x || echo end of input; id -u; echo "$1"'
    await platform.runtime.start(
        request_of(*shell(script), args=("sh", "one  arg"), working_dir="/usr", user=12345)
    )
    assert await platform.lines() == ["/usr", "end of input", "12345", "one  arg"]


async def test_args_alone_keep_the_images_entrypoint(platform: Platform) -> None:
    await platform.runtime.start(request_of(args=("echo", "from the base image")))
    assert await platform.lines() == ["from the base image"]


async def test_limits_and_fences_are_set(platform: Platform) -> None:
    await platform.runtime.start(request_of("sleep", "60", memory=100 * MIB))
    shown = await platform.container().show()
    host = shown["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (100 * MIB, 100 * MIB)
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_500_000_000, 4096)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["NetworkMode"] in ("default", "bridge")
    assert host["LogConfig"]["Type"] == "json-file"
    assert "max-size" in host["LogConfig"]["Config"]
    assert not host["Privileged"]
    assert not shown["Config"]["OpenStdin"]


async def test_a_container_sees_its_limits(platform: Platform) -> None:
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    script = f"cat {files} 2>/dev/null; grep NoNewPrivs /proc/1/status"
    await platform.runtime.start(request_of(*shell(script), memory=100 * MIB))
    assert await platform.lines() == [str(100 * MIB), "NoNewPrivs:\t1"]


async def test_too_much_memory_is_killed_and_told(platform: Platform) -> None:
    code = "print('up', flush=True); x = b'x' * 10**9"
    await platform.runtime.start(request_of("python3", "-c", code, memory=64 * MIB))
    end = await platform.end()
    assert end.exit.out_of_memory
    assert end.exit.signal == signal.SIGKILL
    assert "memory" in end.exit.reason


async def test_tmp_is_anyones_and_counts_as_memory(platform: Platform) -> None:
    # The file system refuses at its size, or the limit kills: never more than the limit.
    fill = "dd if=/dev/zero of=/tmp/big bs=1M count=128 2>/dev/null"
    script = f"grep -c ' /tmp tmpfs ' /proc/mounts; touch /tmp/x && ls /tmp; {fill} || exit 5"
    request = request_of(*shell(script), memory=64 * MIB, user=1000)
    await platform.runtime.start(request)
    end = await platform.end()
    assert end.exit.out_of_memory or end.exit.code == 5
    assert await platform.lines() == ["1", "x"]


async def test_an_end_tells_code_or_signal(platform: Platform) -> None:
    await platform.runtime.start(request_of(*shell("exit 7"), instance="a"))
    assert await platform.end() == Ended("a", Exit(code=7))
    await platform.runtime.start(request_of(*shell("exit 0"), instance="b"))
    assert await platform.end() == Ended("b", Exit(code=0))
    await platform.runtime.start(request_of(*shell("sleep 60"), instance="c"))
    await platform.runtime.kill("c")
    assert await platform.end() == Ended("c", Exit(signal=signal.SIGKILL))


async def test_sigterm_is_for_the_instance_to_obey(platform: Platform) -> None:
    script = "trap 'echo stopping; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    await platform.runtime.start(request_of(*shell(script)))
    await platform.wait_for_line("up")
    await platform.runtime.signal_stop("web-00001-abcde")
    assert await platform.end() == Ended("web-00001-abcde", Exit(code=3))
    assert await platform.lines() == ["up", "stopping"]


async def test_signals_to_an_instance_that_is_gone_do_nothing(platform: Platform) -> None:
    await platform.runtime.start(request_of("true"))
    await platform.end()
    for instance in ("web-00001-abcde", "never-was"):
        await platform.runtime.signal_stop(instance)
        await platform.runtime.kill(instance)
        await platform.runtime.remove(instance)
        await platform.runtime.remove(instance)
    assert await platform.containers() == []
    assert await platform.lines() == []


async def test_removing_a_living_instance_ends_it(platform: Platform) -> None:
    await platform.runtime.start(request_of("sleep", "60"))
    await platform.runtime.remove("web-00001-abcde")
    assert (await platform.end()).exit.signal == signal.SIGKILL
    assert await platform.containers() == []


async def test_every_one_of_many_quick_ends_is_told_once(platform: Platform) -> None:
    names = [f"web-00001-{number}" for number in range(6)]
    requests = [request_of(*shell("exit 5"), instance=name) for name in names]
    await asyncio.gather(*(platform.runtime.start(request) for request in requests))
    ends = [await platform.end() for _ in names]
    assert sorted(end.instance for end in ends) == names
    assert {end.exit for end in ends} == {Exit(code=5)}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(platform.ends)


async def test_lines_carry_stream_and_time_and_the_last_needs_no_newline(
    platform: Platform,
) -> None:
    before = time.time()
    await platform.runtime.start(request_of(*shell("echo out; echo err >&2; printf 'no newline'")))
    async with asyncio.timeout(20):
        lines = [line async for line in platform.runtime.logs("web-00001-abcde")]
    assert {(line.stream, line.text) for line in lines} == {
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "no newline"),
    }
    assert all(before - 5 < line.time < time.time() + 5 for line in lines)


async def test_a_line_of_several_frames_is_joined_and_a_long_one_cut(platform: Platform) -> None:
    code = "print('x' * 40_000); print('y' * 200_000); print('end')"
    await platform.runtime.start(request_of("python3", "-c", code))
    first, *pieces, last = await platform.lines()
    assert first == "x" * 40_000
    assert ("".join(pieces), last) == ("y" * 200_000, "end")
    assert max(map(len, pieces)) == 65536


async def test_running_containers_are_adopted_and_ended_ones_removed(platform: Platform) -> None:
    running = await platform.runtime.start(request_of("sleep", "60", instance="lives"))
    await platform.runtime.start(request_of("false", instance="ended"))
    await platform.end()
    await platform.runtime.close()

    later = Docker(platform.state_id)
    await later.open()
    assert await later.adopt() == [running]
    assert await platform.containers() == ["lives"]
    assert await later.adopt() == [], "what is watched already is no find"
    await later.kill("lives")
    async with asyncio.timeout(20):
        end = await anext(later.ended())
    assert end == Ended("lives", Exit(signal=signal.SIGKILL))
    await later.remove("lives")
    await later.close()


async def test_another_platforms_containers_are_left_alone(platform: Platform) -> None:
    await platform.runtime.start(request_of("sleep", "60"))
    other = Docker("test-other")
    await other.open()
    assert await other.adopt() == []
    await other.close()
    assert await platform.containers() == ["web-00001-abcde"]


async def test_a_missing_image_is_told_with_the_next_step(platform: Platform) -> None:
    image = "127.0.0.1:9/no/such:image"
    with pytest.raises(ImageMissing, match=f"build or pull it first: docker pull {image}"):
        await platform.runtime.prepare(Container(image=image))
    with pytest.raises(ImageMissing, match=f"docker pull {image}"):
        await platform.runtime.start(request_of(image=image))
    with pytest.raises(ImageMissing, match="invalid reference"):
        await platform.runtime.prepare(Container(image="No Image"))
    await platform.runtime.prepare(Container(image=BASE))


async def test_a_deployed_image_that_was_removed_is_told_with_the_next_step(
    platform: Platform,
) -> None:
    file = f"FROM {BASE}\nENV MADE_FOR={platform.state_id}\n"
    name = await asyncio.to_thread(build_from, "removed", file)
    digest = await platform.runtime.prepare(Container(image=name))
    await platform.engine.images.delete(name)
    request = replace(request_of("true", image=name), image_digest=digest)
    with pytest.raises(ImageMissing, match=f"{name} as it was deployed .*windlass deploy"):
        await platform.runtime.start(request)
    assert await platform.containers() == []


async def test_a_command_line_is_refused_with_the_way_out(platform: Platform) -> None:
    with pytest.raises(RuntimeFault, match="--image"):
        await platform.runtime.prepare(Container(exec=("sleep", "1")))


async def test_a_failed_start_leaves_nothing(platform: Platform) -> None:
    with pytest.raises(StartFailed, match="no-such-command"):
        await platform.runtime.start(request_of("no-such-command"))
    assert await platform.containers() == []


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.05])
async def test_a_start_that_is_given_up_leaves_nothing(platform: Platform, moment: float) -> None:
    starting = asyncio.create_task(platform.runtime.start(request_of("sleep", "60")))
    await asyncio.sleep(moment)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await platform.containers() == []


async def test_an_absent_engine_is_told_with_the_next_step(tmp_path: Path) -> None:
    runtime = Docker("test-absent", url=f"unix://{tmp_path}/docker.sock")
    with pytest.raises(RuntimeUnavailable, match="start it: "):
        await runtime.open()
    with pytest.raises(RuntimeUnavailable, match="open"):
        await runtime.kill("any")


class Relay:
    """A socket in front of the engine's that can be cut: the engine seems stopped.

    It can hold back, for so many seconds, the news that a container was started.
    """

    def __init__(self, path: Path, engine: aiodocker.Docker, hold: float = 0.0) -> None:
        self.url = f"unix://{path}"
        self._path, self._hold = path, hold
        self._engine = engine._connection_info.removeprefix("unix://")
        self._holding: set[asyncio.StreamWriter] = set()
        self._joined: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._join, self._path)

    async def cut(self) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in self._joined:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._engine)
        ends = {writer, far_writer}
        self._joined |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer, answers=writer))
                group.create_task(self._copy(far_reader, writer))
        except* OSError:
            pass  # cut
        finally:
            self._joined -= ends
            for end in ends:
                end.close()

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamWriter | None = None,
    ) -> None:
        while data := await reader.read(65536):
            if answers and b"/start HTTP" in data:
                self._holding.add(answers)
            if writer in self._holding:
                self._holding.remove(writer)
                await asyncio.sleep(self._hold)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def test_an_end_before_the_start_is_told_comes_after_it(
    platform: Platform, tmp_path: Path
) -> None:
    relay = Relay(tmp_path / "docker.sock", platform.engine, hold=1.0)
    await relay.open()
    runtime = Docker(platform.state_id, url=relay.url)
    await runtime.open()
    running = await runtime.start(request_of(*shell("exit 5")))
    assert running.address.port == 0, "it has ended already"
    async with asyncio.timeout(20):
        assert await anext(runtime.ended()) == Ended("web-00001-abcde", Exit(code=5))
    await runtime.close()
    await relay.cut()


@pytest.mark.parametrize("engine_remembers", [True, False])
async def test_a_stopped_engine_is_told_and_what_ended_meanwhile_is_found(
    platform: Platform, tmp_path: Path, engine_remembers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine_remembers:  # as one that was started anew: it has no past events to tell
        monkeypatch.setattr("windlass.runtime.docker._LOOKED_BACK", 0)
    relay = Relay(tmp_path / "docker.sock", platform.engine)
    await relay.open()
    runtime = Docker(platform.state_id, url=relay.url)
    await runtime.open()
    names = ["exits", "is-removed", "lives"]
    for name in names:
        await runtime.start(
            request_of(*shell("trap 'exit 9' TERM; sleep 60 & wait"), instance=name)
        )

    await relay.cut()
    for call in (runtime.signal_stop("lives"), runtime.kill("lives"), runtime.remove("lives")):
        with pytest.raises(RuntimeUnavailable, match="start it: "):
            await call
    with pytest.raises(RuntimeUnavailable):
        await runtime.start(request_of("true", instance="new"))
    with pytest.raises(RuntimeUnavailable):
        await runtime.prepare(Container(image=BASE))
    with pytest.raises(RuntimeUnavailable):
        await runtime.adopt()
    await platform.container("exits").kill(signal="SIGTERM")
    await platform.container("exits").wait()
    await platform.container("is-removed").delete(force=True)
    if not engine_remembers:
        await asyncio.sleep(1.1)  # past events are asked for by the second

    await relay.open()
    ends = runtime.ended()
    async with asyncio.timeout(20):
        found = {(await anext(ends)).instance for _ in range(2)}
        assert found == {"exits", "is-removed"}
        await platform.container("lives").kill()
        assert await anext(ends) == Ended("lives", Exit(signal=signal.SIGKILL))
    await runtime.close()
    await relay.cut()
