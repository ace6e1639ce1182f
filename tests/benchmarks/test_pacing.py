from __future__ import annotations

import asyncio
import sys
import time

import pytest

from windlass.bench.pacing import LoopAlarm, TimerfdAlarm

ALARMS = [
    LoopAlarm,
    pytest.param(
        TimerfdAlarm,
        marks=pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's"),
    ),
]
MILLISECOND = 1_000_000


class Ring:
    """Notes when it was rung."""

    def __init__(self) -> None:
        self.moments: list[int] = []
        self.rung = asyncio.Event()

    def __call__(self) -> None:
        self.moments.append(time.monotonic_ns())
        self.rung.set()


@pytest.mark.parametrize("kind", ALARMS)
async def test_an_alarm_rings_once_and_not_early(
    kind: type[LoopAlarm] | type[TimerfdAlarm],
) -> None:
    ring = Ring()
    alarm = kind(asyncio.get_running_loop(), ring)
    moment = time.monotonic_ns() + 5 * MILLISECOND
    alarm.set(moment)
    await ring.rung.wait()
    await asyncio.sleep(0.01)
    alarm.close()
    assert len(ring.moments) == 1
    assert ring.moments[0] >= moment - MILLISECOND  # the loop's own clock is coarse


@pytest.mark.parametrize("kind", ALARMS)
async def test_a_moment_that_is_over_rings_at_once(
    kind: type[LoopAlarm] | type[TimerfdAlarm],
) -> None:
    ring = Ring()
    alarm = kind(asyncio.get_running_loop(), ring)
    alarm.set(1)
    await asyncio.wait_for(ring.rung.wait(), 5)
    alarm.close()


@pytest.mark.parametrize("kind", ALARMS)
async def test_a_new_moment_replaces_the_old_and_a_closed_alarm_is_silent(
    kind: type[LoopAlarm] | type[TimerfdAlarm],
) -> None:
    ring = Ring()
    alarm = kind(asyncio.get_running_loop(), ring)
    alarm.set(time.monotonic_ns() + 5 * MILLISECOND)
    alarm.set(time.monotonic_ns() + 60_000 * MILLISECOND)
    await asyncio.sleep(0.02)
    assert ring.moments == []
    alarm.set(time.monotonic_ns() + 5 * MILLISECOND)
    alarm.close()
    await asyncio.sleep(0.02)
    assert ring.moments == []
