"""A deploy's progress: a moving line on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from windlass.deploy.api.schema import Done, Notice, Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Protocol

    from windlass.deploy.api.schema import Progress, ServiceView

    class Display(Protocol):
        """What shows the steps."""

        def step(self, message: str) -> None:
            """A step begins; the one before is done."""

        def close(self, done: bool) -> None:
            """The last step is over."""


async def watch(events: AsyncIterator[Progress]) -> ServiceView:
    """Show the progress and return the service at its end."""
    display: Display = _Moving() if sys.stderr.isatty() else _Lines()
    found: ServiceView | None = None
    try:
        async for event in events:
            match event:
                case Step(message):
                    display.step(message)
                case Notice(message):
                    click.echo(f"warning: {message}", err=True)
                case Done(service):
                    found = service
    finally:
        display.close(found is not None)
    assert found is not None, "a client's progress ends with Done or an exception"
    return found


class _Lines:
    """A line per step."""

    def step(self, message: str) -> None:
        click.echo(f"{message} ...", err=True)

    def close(self, done: bool) -> None:
        pass


class _Moving:
    """A spinner for the step under way, and a line with its duration for each that is done."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, markup=False, emoji=False, highlight=False)
        self._status = self._console.status("")
        self._message = ""
        self._begin = 0.0

    def step(self, message: str) -> None:
        self._finish(True)
        self._message, self._begin = message, time.monotonic()
        self._status.update(f"{message} ...")
        self._status.start()

    def close(self, done: bool) -> None:
        self._finish(done)

    def _finish(self, done: bool) -> None:
        self._status.stop()
        if self._message:
            mark = "✓" if done else "✗"
            took = time.monotonic() - self._begin
            self._console.print(f"{mark} {self._message} ({took:.1f} s)")
        self._message = ""
