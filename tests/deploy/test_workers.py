"""Worker processes and their links: started, told everything, replaced, taken over, drained."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windlass.deploy.listening import Listening
from windlass.deploy.workers import CannotListen, WorkerFailed, Workers
from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

WORKER = textwrap.dedent("""
    import asyncio, os, sys
    from windlass.router import link

    async def main(socket, name):
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(socket)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.write(link.encode(link.Hello(worker=name, pid=os.getpid())))
            try:
                while True:
                    message = await link.read_for_worker(reader)
                    if isinstance(message, link.Drain):
                        return
                    if isinstance(message, link.InstanceGone):
                        writer.write(link.encode(link.InstanceDrained(message.instance)))
            except asyncio.IncompleteReadError:
                continue

    asyncio.run(main(sys.argv[1], sys.argv[2]))
""")


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[object] = asyncio.Queue()

    def snapshot(self, known: Iterable[str]) -> Iterable[link.ToWorker]:
        yield link.Routes(services=(), revisions=())
        yield link.InstanceGone("told-at-hello")

    def starved(self, worker: str, message: object) -> None:
        self.heard.put_nowait(message)

    drained = returned = rested = set_aside = starved

    def quiet(self, worker: str, message: link.Quiet) -> None: ...

    def linked(self, worker: str, hello: link.Hello) -> None: ...

    def unlinked(self, worker: str) -> None: ...

    def retiring(self, worker: str) -> None: ...

    def unreachable(self, message: object) -> None:
        self.heard.put_nowait(message)

    reported = unreachable
    woken = unreachable

    def worker_gone(self, worker: str, *, lost: bool) -> None:
        self.heard.put_nowait((worker, lost))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def make_workers(state: Path, recorder: Recorder, *more: str) -> Workers:
    return Workers(state, command(state, *more), recorder, Listening("127.0.0.1", 0))


def pid_file(state: Path, place: str) -> Path:
    [file] = state.glob(f"{place}.*.pid")
    return file


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (another process brings it about)
            await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
async def workers(tmp_path: Path, recorder: Recorder) -> AsyncIterator[Workers]:
    workers = make_workers(tmp_path, recorder)
    yield workers
    await workers.close(1.0)


def command(state: Path, *more: str) -> Callable[[str], list[str]]:
    return lambda name: [sys.executable, "-c", WORKER, str(state / "link.sock"), name, *more]


@pytest.mark.slow
async def test_a_worker_is_told_the_snapshot_when_it_says_hello(
    workers: Workers, recorder: Recorder
) -> None:
    await workers.open(1)
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")


@pytest.mark.slow
async def test_a_message_reaches_every_worker(workers: Workers, recorder: Recorder) -> None:
    await workers.open(2)
    for _ in range(2):
        await recorder.heard.get()
    workers.send(link.InstanceGone("x"))
    answers = [await recorder.heard.get(), await recorder.heard.get()]
    assert answers == [link.InstanceDrained("x")] * 2


@pytest.mark.slow
async def test_a_killed_worker_is_replaced(
    workers: Workers, recorder: Recorder, tmp_path: Path
) -> None:
    await workers.open(1)
    await recorder.heard.get()
    [killed] = workers.names
    os.kill(int(pid_file(tmp_path, "worker-1").read_text()), signal.SIGKILL)
    assert await recorder.heard.get() == (killed, True)
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")
    assert killed not in workers.names


@pytest.mark.slow
async def test_a_worker_that_ends_at_its_start_is_an_error_not_a_loop(
    tmp_path: Path, recorder: Recorder
) -> None:
    words = [sys.executable, "-c", "exit(3)", str(tmp_path / "link.sock")]
    workers = Workers(tmp_path, lambda name: words, recorder, Listening("127.0.0.1", 0))
    with pytest.raises(WorkerFailed, match="exit code 3"):
        await workers.open(1)
    await workers.close(0.1)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
async def test_an_address_that_is_taken_is_an_error(tmp_path: Path, recorder: Recorder) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        listening = Listening("127.0.0.1", taken.getsockname()[1])
        workers = Workers(tmp_path, command(tmp_path), recorder, listening)
        with pytest.raises(CannotListen, match="in use"):
            await workers.open(2)
        await workers.close(0.1)


async def left_behind(state: Path, name: str, *more: str) -> asyncio.subprocess.Process:
    """Start a worker as an earlier node did."""
    left = await asyncio.create_subprocess_exec(*command(state, *more)(name))
    (state / f"{name}.pid").write_text(str(left.pid))
    return left


@pytest.mark.slow
async def test_a_worker_of_an_earlier_node_is_taken_over(
    tmp_path: Path, recorder: Recorder
) -> None:
    left = await left_behind(tmp_path, "worker-1.abc")
    workers = make_workers(tmp_path, recorder)
    await workers.open(1)
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")
    assert workers.names == {"worker-1.abc"}
    await workers.close(1.0)
    assert await left.wait() == 0


@pytest.mark.slow
async def test_a_worker_that_was_killed_with_its_node_is_known_to_be_gone(
    recorder: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "worker-1.abc.pid").write_text("999999999")
    (tmp_path / "worker-2.def.pid").write_text("999999999")
    workers = make_workers(tmp_path, recorder)
    await workers.open(1)
    gone = {await recorder.heard.get() for _ in range(2)}
    assert gone == {("worker-1.abc", True), ("worker-2.def", True)}
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")
    await workers.close(1.0)


@pytest.mark.slow
async def test_a_worker_with_other_options_is_replaced(tmp_path: Path, recorder: Recorder) -> None:
    left = await left_behind(tmp_path, "worker-1.abc", "--other")
    workers = make_workers(tmp_path, recorder)
    await workers.open(1)
    assert await left.wait() == 0
    await until(lambda: "worker-1.abc" not in workers.names)
    assert pid_file(tmp_path, "worker-1").stem in workers.names
    await workers.close(1.0)


@pytest.mark.slow
async def test_a_worker_beyond_the_number_wanted_is_let_go(
    tmp_path: Path, recorder: Recorder
) -> None:
    left = await left_behind(tmp_path, "worker-2.abc")
    workers = make_workers(tmp_path, recorder)
    await workers.open(1)
    assert await left.wait() == 0
    await until(lambda: "worker-2.abc" not in workers.names)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("worker-2.")]
    await workers.close(1.0)


@pytest.mark.slow
async def test_reload_starts_each_worker_before_the_old_one_ends(
    workers: Workers, recorder: Recorder
) -> None:
    await workers.open(2)
    old = workers.names
    new = await workers.reload()
    assert [name.partition(".")[0] for name in new] == ["worker-1", "worker-2"]
    assert old.isdisjoint(new)
    await until(lambda: workers.names == frozenset(new))
    gone = {await recorder.heard.get() for _ in range(6)} - {link.InstanceDrained("told-at-hello")}
    assert gone == {(name, False) for name in old}


@pytest.mark.slow
async def test_a_reload_that_fails_leaves_the_old_worker_serving(
    tmp_path: Path, recorder: Recorder
) -> None:
    broken = False

    def words(name: str) -> list[str]:
        return [sys.executable, "-c", "exit(4)"] if broken else command(tmp_path)(name)

    workers = Workers(tmp_path, words, recorder, Listening("127.0.0.1", 0))
    await workers.open(1)
    [serving] = workers.names
    broken = True
    with pytest.raises(WorkerFailed):
        await workers.reload()
    assert workers.names == {serving}
    await workers.close(1.0)


@pytest.mark.slow
async def test_a_worker_that_crashes_while_it_drains_is_lost(
    recorder: Recorder, tmp_path: Path
) -> None:
    deaf = [sys.executable, "-c", WORKER.replace("link.Drain)", "link.Grant)")]
    path = str(tmp_path / "link.sock")
    listening = Listening("127.0.0.1", 0)
    workers = Workers(tmp_path, lambda name: [*deaf, path, name], recorder, listening)
    await workers.open(1)
    [old] = workers.names
    pid = int(pid_file(tmp_path, "worker-1").read_text())
    await workers.reload()
    os.kill(pid, signal.SIGKILL)
    while (heard := await recorder.heard.get()) == link.InstanceDrained("told-at-hello"):
        pass
    assert heard == (old, True)
    await workers.close(0.0)


@pytest.mark.slow
async def test_a_worker_that_crashes_while_it_is_replaced_is_replaced_once(
    recorder: Recorder, tmp_path: Path
) -> None:
    pause = ""

    def words(name: str) -> list[str]:
        return [sys.executable, "-c", pause + WORKER, str(tmp_path / "link.sock"), name]

    workers = Workers(tmp_path, words, recorder, Listening("127.0.0.1", 0))
    await workers.open(1)
    old = pid_file(tmp_path, "worker-1")
    pause = "import time; time.sleep(1.5)"
    reload = asyncio.create_task(workers.reload())
    await until(lambda: len(workers.names) == 2)
    os.kill(int(old.read_text()), signal.SIGKILL)
    [new] = await reload
    await asyncio.sleep(2.5)  # one that is started instead of the old one would be there
    assert workers.names == {new}
    await workers.close(1.0)


@pytest.mark.slow
async def test_closing_leaves_no_process_and_no_file(tmp_path: Path, recorder: Recorder) -> None:
    workers = make_workers(tmp_path, recorder)
    await workers.open(2)
    pids = [int(pid_file(tmp_path, f"worker-{n}").read_text()) for n in (1, 2)]
    await workers.close(1.0)
    assert os.listdir(tmp_path) == []
    assert not any(running(pid) for pid in pids)
