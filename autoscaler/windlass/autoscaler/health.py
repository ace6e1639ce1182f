"""Probes of an instance that is ready: when they are due, when their verdict changes; their words.

What a probe sends, and what follows from a verdict, is not known here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from windlass.model.service import Container, Probe


class Streak:
    """The verdict of one probe: passing at first, failing after so many failures in a row."""

    def __init__(self, failure_threshold: int) -> None:
        self._threshold = failure_threshold
        self._failures = 0
        self.passing = True

    def take(self, passed: bool) -> bool:
        """Take one attempt's result; return whether the verdict is another one now."""
        before = self.passing
        self._failures = 0 if passed else self._failures + 1
        if passed:
            self.passing = True
        elif self._failures >= self._threshold:
            self.passing = False
        return self.passing != before


async def watch(
    probe: Probe, attempt: Callable[[], Awaitable[bool | None]], changed: Callable[[bool], None]
) -> None:
    """Probe until cancelled; call `changed` with each new verdict. None is no attempt."""
    streak = Streak(probe.failure_threshold)
    await asyncio.sleep(probe.initial_delay)
    while True:
        passed = await attempt()
        if passed is not None and streak.take(passed):
            changed(streak.passing)
        await asyncio.sleep(probe.period)


def failing(name: str, probe: Probe) -> str:
    """Return in words that a probe fails."""
    times = "once" if probe.failure_threshold == 1 else f"{probe.failure_threshold} times in a row"
    return f"its {_described(name, probe)} failed {times}"


def never_ready(container: Container, budget: float) -> str:
    """Return in words that a container's startup probe failed for so many seconds."""
    failed, probe = f"took no request on port {container.port}", container.startup_probe
    if probe and probe.kind != "tcp":
        failed = f"did not pass its {_described('startup', probe)}"
    return f"{failed} within {budget:g} s: it must listen on 0.0.0.0 and the port in $PORT"


def _described(name: str, probe: Probe) -> str:
    asked = {"tcp": "", "http": f" GET {probe.path}", "grpc": f" {probe.grpc_service}".rstrip()}
    return f"{name} probe ({probe.kind}{asked[probe.kind]})"
