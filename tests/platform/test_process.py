from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windlass.model.instance import Exit
from windlass.model.service import MIB, Container, Limits
from windlass.runtime import cgroups
from windlass.runtime.base import (
    Ended,
    ImageMissing,
    RuntimeFault,
    RuntimeUnavailable,
    Start,
    StartFailed,
)
from windlass.runtime.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MARK = "WINDLASS_TEST_MARK"
limits_are_enforced = pytest.mark.skipif(
    cgroups.find("windlass-probe") is None, reason="no control group can be made here"
)
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def request_of(
    *command: str, instance: str = "web-00001-abcde", memory: int = 256 * MIB, **container: object
) -> Start:
    return Start(
        instance=instance,
        revision="web-00001",
        service="web",
        container=Container(exec=command, **container),  # type: ignore[arg-type]  # any field
        limits=Limits(memory=memory, milli_cpu=1500),
    )


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def marked(mark: str) -> list[int]:
    """Return the living processes with this mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in Path(folder, "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def left_behind(state: Path, state_id: str) -> list[Path]:
    """Return the records and control groups that are left of a platform."""
    folders = (Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup"))
    groups = (folder for folder in folders if folder.name == f"windlass-process-{state_id}")
    return [*Path(state, "process").iterdir(), *groups]


def record_of_this_process_at_another_start(folder: Path) -> Path:
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    fields[19] = str(int(fields[19]) - 1)
    record = folder / "old"
    record.write_text(f"{os.getpid()} (python) {' '.join(fields)}\n")
    return record


def children_of_this_process() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@dataclass
class Platform:
    """A process runtime and what it reports."""

    runtime: Process
    state: Path
    state_id: str
    ends: AsyncIterator[Ended]

    async def end(self) -> Ended:
        async with asyncio.timeout(10):
            return await anext(self.ends)

    async def lines(self, instance: str = "web-00001-abcde") -> list[str]:
        """Return all lines of an instance that ends by itself."""
        async with asyncio.timeout(10):
            return [line.text async for line in self.runtime.logs(instance)]

    async def first_line(self, instance: str = "web-00001-abcde") -> str:
        async with asyncio.timeout(10):
            return (await anext(aiter(self.runtime.logs(instance)))).text

    async def wait_for_line(self, text: str, instance: str = "web-00001-abcde") -> None:
        async with asyncio.timeout(10):
            async for line in self.runtime.logs(instance):
                if line.text == text:
                    return


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mark that every process of the test inherits; none may be left at its end."""
    value = secrets.token_hex(8)
    before = children_of_this_process()
    monkeypatch.setenv(MARK, value)
    yield value
    assert marked(value) == []
    assert set(children_of_this_process()) <= set(before), "a zombie is left"


@pytest.fixture
async def platform(tmp_path: Path, mark: str) -> AsyncIterator[Platform]:
    runtime = Process(tmp_path, mark)
    await runtime.open()
    yield Platform(runtime, tmp_path, mark, runtime.ended())
    for instance in [*runtime._children]:
        await runtime.remove(instance)
    await runtime.close()
    assert left_behind(tmp_path, mark) == []


async def test_an_instance_gets_the_contracts_environment(platform: Platform) -> None:
    names = ("PORT", "HOST", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "USERS", "a.b")
    code = f"import os\nfor n in {names}: print(n, os.environ[n])"
    env = (("USERS", "1"), ("a.b", "x=y z"), ("PORT", "1"), ("K_SERVICE", "2"))
    running = await platform.runtime.start(request_of(*python(code), env=env))
    assert await platform.lines() == [
        f"PORT {running.address.port}",
        "HOST 127.0.0.1",
        "K_SERVICE web",
        "K_REVISION web-00001",
        "K_CONFIGURATION web",
        "USERS 1",
        "a.b x=y z",
    ]


async def test_an_instance_answers_at_its_address(platform: Platform) -> None:
    code = (
        "import os, socket\n"
        "s = socket.create_server(('', int(os.environ['PORT'])))\n"
        "print('listening', flush=True)\n"
        "s.accept()[0].sendall(b'hello')"
    )
    running = await platform.runtime.start(request_of(*python(code)))
    await platform.wait_for_line("listening")
    reader, writer = await asyncio.open_connection(running.address.host, running.address.port)
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()


async def test_each_instance_has_a_port_of_its_own(platform: Platform) -> None:
    started = [
        await platform.runtime.start(request_of("sleep", "60", instance=f"web-00001-{n}"))
        for n in range(5)
    ]
    assert len({running.address.port for running in started}) == 5


async def test_arguments_working_directory_and_empty_input(
    platform: Platform, tmp_path: Path
) -> None:
    script = 'pwd; read -r x || echo end of input; echo "$1"'
    await platform.runtime.start(
        request_of(*shell(script), "sh", args=("one  arg",), working_dir=str(tmp_path))
    )
    assert await platform.lines() == [str(tmp_path), "end of input", "one  arg"]


async def test_no_open_file_of_the_platform_reaches_an_instance(platform: Platform) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        await platform.runtime.start(request_of(*shell("ls /proc/self/fd | wc -l")))
        assert [line.strip() for line in await platform.lines()] == ["4"]  # and ls's own
    finally:
        os.close(reader)
        os.close(writer)


@is_root
async def test_an_instance_runs_as_the_user_it_names(platform: Platform) -> None:
    await platform.runtime.start(request_of(*shell("id -u; id -g; id -G"), user=12345))
    assert await platform.lines() == ["12345"] * 3


async def test_an_end_tells_code_or_signal(platform: Platform) -> None:
    await platform.runtime.start(request_of(*shell("exit 7"), instance="a"))
    assert await platform.end() == Ended("a", Exit(code=7))
    await platform.runtime.start(request_of(*shell("kill -USR1 $$"), instance="b"))
    assert await platform.end() == Ended("b", Exit(signal=signal.SIGUSR1))
    await platform.runtime.start(request_of("true", instance="c"))
    assert await platform.end() == Ended("c", Exit(code=0))


async def test_sigterm_reaches_an_instance_and_its_children(platform: Platform) -> None:
    child = "sh -c 'trap \"echo child; exit\" TERM; echo up; while :; do sleep 0.02; done'"
    await platform.runtime.start(request_of(*shell(f"trap 'echo main' TERM; {child} & wait; wait")))
    await platform.wait_for_line("up")
    await platform.runtime.signal_stop("web-00001-abcde")
    assert {"main", "child"} <= set(await platform.lines())


async def test_sigkill_ends_a_stubborn_group_with_its_grandchildren(
    platform: Platform, mark: str
) -> None:
    grandchild = 'sh -c "echo up; while :; do sleep 1; done"'
    script = f"trap '' TERM; sh -c '{grandchild} & wait' & wait"
    await platform.runtime.start(request_of(*shell(script)))
    await platform.wait_for_line("up")
    assert len(marked(mark)) >= 3
    await platform.runtime.signal_stop("web-00001-abcde")
    assert len(marked(mark)) >= 3
    await platform.runtime.kill("web-00001-abcde")
    assert await platform.end() == Ended("web-00001-abcde", Exit(signal=signal.SIGKILL))
    await platform.runtime.remove("web-00001-abcde")
    assert marked(mark) == []


@limits_are_enforced
async def test_what_left_the_session_ends_with_the_main_process(
    platform: Platform, mark: str
) -> None:
    await platform.runtime.start(request_of(*shell("setsid sh -c 'echo up; sleep 60' & wait")))
    await platform.wait_for_line("up")
    await platform.runtime.remove("web-00001-abcde")
    assert marked(mark) == []


async def test_without_control_groups_the_process_group_still_ends_with_its_main_process(
    platform: Platform, mark: str
) -> None:
    platform.runtime._groups = None
    await platform.runtime.start(request_of(*shell("sh -c 'echo up; sleep 60' & sleep 0.1")))
    await platform.wait_for_line("up")
    assert await platform.end() == Ended("web-00001-abcde", Exit(code=0))
    await platform.runtime.remove("web-00001-abcde")
    assert marked(mark) == []


@limits_are_enforced
async def test_too_much_memory_is_killed_and_told(platform: Platform) -> None:
    code = "import sys; print('up', flush=True); x = b'x' * 10**9"
    await platform.runtime.start(request_of(*python(code), memory=64 * MIB))
    assert await platform.lines() == ["up"]
    end = await platform.end()
    assert end.exit.out_of_memory
    assert end.exit.signal == signal.SIGKILL
    assert "memory" in end.exit.reason


@limits_are_enforced
async def test_a_kill_that_was_asked_for_is_not_out_of_memory(platform: Platform) -> None:
    hungry = f"{sys.executable} -c \"x = b'x' * 10**9\""
    await platform.runtime.start(
        request_of(*shell(f"{hungry}; echo up; sleep 60"), memory=64 * MIB)
    )
    await platform.wait_for_line("up")
    await platform.runtime.kill("web-00001-abcde")
    assert await platform.end() == Ended("web-00001-abcde", Exit(signal=signal.SIGKILL))


@limits_are_enforced
async def test_limits_are_set_before_the_command_runs(platform: Platform) -> None:
    script = "grep -c windlass-process /proc/self/cgroup; sleep 60"
    await platform.runtime.start(request_of(*shell(script), memory=100 * MIB))
    groups = platform.runtime._groups
    assert groups is not None
    assert await platform.first_line() == str(len(set(groups.parents.values())))
    [(name, _)] = groups.left()
    wanted = Limits(memory=100 * MIB, milli_cpu=1500)
    for controller, file, value in cgroups.settings(groups.version, wanted):
        path = groups.parents[controller] / name / file
        if "sw" not in file or path.exists():
            assert path.read_text().split() == value.split(), path


async def test_lines_carry_stream_and_time_and_the_last_needs_no_newline(
    platform: Platform,
) -> None:
    await platform.runtime.start(request_of(*shell("echo out; echo err >&2; printf 'no newline'")))
    async with asyncio.timeout(10):
        lines = [line async for line in platform.runtime.logs("web-00001-abcde")]
    assert {(line.stream, line.text) for line in lines} == {
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "no newline"),
    }
    assert all(line.time > 1.6e9 for line in lines)


async def test_a_long_line_comes_in_pieces(platform: Platform) -> None:
    code = "import sys; sys.stdout.write('x' * 200_000 + '\\nend\\n')"
    await platform.runtime.start(request_of(*python(code)))
    *pieces, last = await platform.lines()
    assert (max(map(len, pieces)), "".join(pieces), last) == (65536, "x" * 200_000, "end")


async def test_logs_are_there_until_the_instance_is_removed(platform: Platform) -> None:
    await platform.runtime.start(request_of(*shell("echo last words; exit 3")))
    await platform.end()
    assert await platform.lines() == ["last words"]
    await platform.runtime.remove("web-00001-abcde")
    assert await platform.lines() == []


async def test_a_missing_command_is_told_before_and_at_the_start(platform: Platform) -> None:
    with pytest.raises(ImageMissing, match="no-such-command is not there"):
        await platform.runtime.prepare(Container(exec=("no-such-command",)))
    with pytest.raises(StartFailed, match="no-such-command is not there"):
        await platform.runtime.start(request_of("no-such-command"))
    with pytest.raises(StartFailed, match="No such file"):
        await platform.runtime.start(request_of("sleep", "1", working_dir="/no/such/folder"))
    await platform.runtime.prepare(Container(exec=("sleep", "1")))


async def test_an_image_is_refused_with_the_way_out(platform: Platform) -> None:
    with pytest.raises(RuntimeFault, match="--exec"):
        await platform.runtime.prepare(Container(image="nginx"))


async def test_signals_to_an_instance_that_is_gone_do_nothing(platform: Platform) -> None:
    await platform.runtime.start(request_of("true"))
    await platform.end()
    for instance in ("web-00001-abcde", "never-was"):
        await platform.runtime.signal_stop(instance)
        await platform.runtime.kill(instance)
        await platform.runtime.remove(instance)


async def test_removing_a_living_instance_ends_it(platform: Platform) -> None:
    await platform.runtime.start(request_of("sleep", "60"))
    await platform.runtime.remove("web-00001-abcde")
    assert (await platform.end()).exit == Exit(signal=signal.SIGKILL)


EARLIER = """
import asyncio, os, sys
from pathlib import Path
from windlass.model.service import Container, Limits
from windlass.runtime.base import Start
from windlass.runtime.process import Process

async def main():
    runtime = Process(Path(sys.argv[1]), sys.argv[2])
    await runtime.open()
    script = "setsid sleep 60 & sleep 61 & echo up; wait"
    await runtime.start(Start(instance="old", revision="r", service="s", limits=Limits(),
                              container=Container(exec=("sh", "-c", script))))
    async for line in runtime.logs("old"):
        os._exit(1)

asyncio.run(main())
"""


@limits_are_enforced
@pytest.mark.slow
async def test_what_an_earlier_platform_left_is_ended(platform: Platform, mark: str) -> None:
    earlier = await asyncio.create_subprocess_exec(*python(EARLIER), str(platform.state), mark)
    await earlier.wait()
    left = marked(mark)
    assert left
    await platform.runtime.start(request_of("sleep", "60", instance="ours"))
    assert await platform.runtime.adopt() == []
    assert not set(left) & set(marked(mark))
    assert len(marked(mark)) == 1, "its own instances go on"


async def test_a_process_that_only_has_the_same_number_is_left_alone(platform: Platform) -> None:
    folder = platform.state / "process"
    record_of_this_process_at_another_start(folder)
    await platform.runtime.adopt()
    assert os.listdir(folder) == []


async def test_a_kernel_without_pidfd_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(RuntimeUnavailable, match="--runtime docker"):
        await Process(tmp_path, "x").open()
