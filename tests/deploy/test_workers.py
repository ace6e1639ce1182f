"""Worker processes and their links: started, told everything, replaced, taken over, drained."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from windlass.deploy.workers import CannotListen, Workers
from windlass.router import link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

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

    drained = starved
    rested = starved

    def unreachable(self, message: object) -> None:
        self.heard.put_nowait(message)

    reported = unreachable
    woken = unreachable

    def unlinked(self) -> None: ...

    def worker_gone(self, worker: str) -> None:
        self.heard.put_nowait(worker)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def workers(tmp_path: Path, recorder: Recorder) -> AsyncIterator[Workers]:
    workers = Workers(tmp_path, command(tmp_path), recorder)
    yield workers
    await workers.close(1.0)


def command(state: Path) -> Callable[[str], list[str]]:
    return lambda name: [sys.executable, "-c", WORKER, str(state / "link.sock"), name]


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
    os.kill(int((tmp_path / "worker-1.pid").read_text()), signal.SIGKILL)
    assert await recorder.heard.get() == "worker-1"
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")


@pytest.mark.slow
async def test_a_worker_that_cannot_listen_is_an_error_not_a_loop(
    tmp_path: Path, recorder: Recorder
) -> None:
    workers = Workers(tmp_path, lambda name: [sys.executable, "-c", "exit(3)"], recorder)
    with pytest.raises(CannotListen):
        await workers.open(1)
    await workers.close(0.1)


@pytest.mark.slow
async def test_a_worker_of_an_earlier_node_is_taken_over(
    tmp_path: Path, recorder: Recorder
) -> None:
    left = await asyncio.create_subprocess_exec(*command(tmp_path)("worker-1"))
    (tmp_path / "worker-1.pid").write_text(str(left.pid))
    workers = Workers(tmp_path, command(tmp_path), recorder)
    await workers.open(1)
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")
    assert (tmp_path / "worker-1.pid").read_text() == str(left.pid)
    await workers.close(1.0)
    assert await left.wait() == 0


@pytest.mark.slow
async def test_a_worker_that_was_killed_with_its_node_is_known_to_be_gone(
    workers: Workers, recorder: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "worker-1.pid").write_text("999999999")
    (tmp_path / "worker-2.pid").write_text("999999999")
    await workers.open(1)
    assert {await recorder.heard.get() for _ in range(2)} == {"worker-1", "worker-2"}
    assert await recorder.heard.get() == link.InstanceDrained("told-at-hello")


@pytest.mark.slow
async def test_a_worker_with_other_options_is_replaced(tmp_path: Path, recorder: Recorder) -> None:
    left = await asyncio.create_subprocess_exec(*command(tmp_path)("worker-1"), "--other")
    (tmp_path / "worker-1.pid").write_text(str(left.pid))
    workers = Workers(tmp_path, command(tmp_path), recorder)
    await workers.open(1)
    assert await left.wait() == 0
    assert (tmp_path / "worker-1.pid").read_text() != str(left.pid)
    await workers.close(1.0)


@pytest.mark.slow
async def test_a_worker_beyond_the_number_wanted_is_let_go(
    tmp_path: Path, recorder: Recorder
) -> None:
    left = await asyncio.create_subprocess_exec(*command(tmp_path)("worker-2"))
    (tmp_path / "worker-2.pid").write_text(str(left.pid))
    workers = Workers(tmp_path, command(tmp_path), recorder)
    await workers.open(1)
    assert await left.wait() == 0
    assert not (tmp_path / "worker-2.pid").exists()
    assert workers.places == {"worker-1"}
    await workers.close(1.0)


@pytest.mark.slow
async def test_closing_leaves_no_process_and_no_file(tmp_path: Path, recorder: Recorder) -> None:
    workers = Workers(tmp_path, command(tmp_path), recorder)
    await workers.open(2)
    pids = [int((tmp_path / f"worker-{n}.pid").read_text()) for n in (1, 2)]
    await workers.close(1.0)
    assert os.listdir(tmp_path) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
