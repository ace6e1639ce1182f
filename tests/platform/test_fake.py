from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from windlass.model.instance import Exit
from windlass.model.service import Container, Limits
from windlass.runtime.base import Ended, RuntimeUnavailable, Start, StartFailed
from windlass.runtime.fake import CRASHED, KILLED, TERMINATED, Behaviour, FakeRuntime

if TYPE_CHECKING:
    from windlass.runtime.base import Runtime


def request(instance: str = "hello-1") -> Start:
    return Start(
        instance=instance,
        revision="hello",
        service="hello",
        container=Container(image="hello"),
        limits=Limits(),
    )


async def next_end(runtime: FakeRuntime) -> Ended:
    return await asyncio.wait_for(anext(runtime.ended()), 1)


async def test_an_instance_starts_answers_and_ends_as_asked() -> None:
    runtime = FakeRuntime()
    driver: Runtime = runtime
    await driver.open()
    running = await driver.start(request())
    assert runtime.alive == [running] == await driver.adopt()
    assert await runtime.answers(Container(), running.address)
    await driver.signal_stop("hello-1")
    assert await next_end(runtime) == Ended("hello-1", TERMINATED)
    assert not await runtime.answers(Container(), running.address)
    assert runtime.known == ["hello-1"]
    await driver.remove("hello-1")
    assert runtime.known == []


async def test_instances_have_addresses_of_their_own() -> None:
    runtime = FakeRuntime()
    both = await asyncio.gather(runtime.start(request("a")), runtime.start(request("b")))
    assert len({each.address for each in both}) == 2
    assert runtime.most_starting == 2
    runtime.deafen("a")
    assert [await runtime.answers(Container(), each.address) for each in both] == [False, True]


async def test_it_fails_as_it_is_told() -> None:
    runtime = FakeRuntime(lambda start: Behaviour(start_fault="no space"))
    with pytest.raises(StartFailed, match="no space"):
        await runtime.start(request())
    assert runtime.known == []
    runtime.behave = lambda start: Behaviour(exit_after=0.0, listens=False)
    running = await runtime.start(request())
    assert not await runtime.answers(Container(), running.address)
    assert await next_end(runtime) == Ended("hello-1", CRASHED)
    runtime.available = False
    with pytest.raises(RuntimeUnavailable):
        await runtime.open()


async def test_one_that_ignores_sigterm_is_killed_and_ends_once() -> None:
    runtime = FakeRuntime(lambda start: Behaviour(stop_delay=None))
    await runtime.start(request())
    await runtime.signal_stop("hello-1")
    await runtime.kill("hello-1")
    runtime.end("hello-1", Exit(code=0))
    assert await next_end(runtime) == Ended("hello-1", KILLED)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(runtime.ended()), 0.01)


async def test_logs_follow_until_the_end() -> None:
    runtime = FakeRuntime(lambda start: Behaviour(lines=("one", "two")))
    await runtime.start(request())
    runtime.write("hello-1", "three")
    asyncio.get_running_loop().call_later(0.01, runtime.write, "hello-1", "four")
    asyncio.get_running_loop().call_later(0.02, runtime.end, "hello-1", Exit(code=0))
    assert [line.text async for line in runtime.logs("hello-1")] == ["one", "two", "three", "four"]


async def test_calls_for_an_unknown_instance_are_no_fault() -> None:
    runtime = FakeRuntime()
    await runtime.signal_stop("gone")
    await runtime.kill("gone")
    await runtime.remove("gone")
