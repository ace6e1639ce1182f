"""What every runtime driver meets: it runs instances and says how they end; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from windlass.model.instance import Address, Exit
    from windlass.model.service import Container, Limits


class RuntimeFault(Exception):
    """A runtime could not do what it was asked; `detail` tells the user why and the next step."""

    def __init__(self, title: str, detail: str = "") -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.title, self.detail = title, detail


class ImageMissing(RuntimeFault):
    """The image is neither here nor to be had."""


class RuntimeUnavailable(RuntimeFault):
    """The engine behind the driver does not answer."""


class StartFailed(RuntimeFault):
    """The instance could not be made or started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a driver needs to run one instance."""

    instance: str
    revision: str
    service: str
    container: Container
    limits: Limits


@dataclass(frozen=True, slots=True)
class Running:
    """An instance that a driver runs: its process is started; nothing says yet that it listens."""

    instance: str
    revision: str
    service: str
    address: Address


@dataclass(frozen=True, slots=True)
class Ended:
    """An instance's main process is gone, whoever ended it. Reported exactly once per instance."""

    instance: str
    exit: Exit


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that an instance wrote, without its newline."""

    time: float  # Unix seconds
    stream: Literal["stdout", "stderr"]
    text: str


class Runtime(Protocol):
    """A way to run instances. Every method may raise RuntimeUnavailable."""

    name: str  # docker, oci, process, fake
    parallel_starts: int  # how many starts at once this engine and machine take well

    async def open(self) -> None:
        """Connect and check.

        Raises:
            RuntimeUnavailable: with the reason and the next step.
        """

    async def close(self) -> None:
        """Let go of the engine; instances go on living."""

    async def prepare(self, container: Container) -> None:
        """Make sure the container's image (or command) is here.

        Raises:
            ImageMissing: it is not to be had.
        """

    async def start(self, request: Start) -> Running:
        """Start an instance and return as soon as its process runs.

        It has the container contract's environment (PORT, K_SERVICE, K_REVISION, K_CONFIGURATION)
        and its limits are enforced.

        Raises:
            StartFailed: nothing of it is left behind.
        """

    async def signal_stop(self, instance: str) -> None:
        """Send SIGTERM; no fault if the instance is gone."""

    async def kill(self, instance: str) -> None:
        """Send SIGKILL; no fault if the instance is gone."""

    async def remove(self, instance: str) -> None:
        """Remove what is left of an ended instance; no fault if nothing is."""

    def ended(self) -> AsyncIterator[Ended]:
        """Yield each end of an instance of ours as it happens, while the driver is open."""

    async def adopt(self) -> list[Running]:
        """Find and watch the instances that an earlier platform with this state left running.

        What is left of ended ones is removed.
        """

    def logs(self, instance: str) -> AsyncIterator[LogLine]:
        """Yield what the instance wrote from its start, then follow until it ends."""
