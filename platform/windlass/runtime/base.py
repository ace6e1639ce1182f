"""What every runtime driver meets: it runs instances and says how they end; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from windlass.model.instance import Address, Exit
    from windlass.model.service import Container, Limits


class RuntimeFault(Exception):
    """A runtime could not do what it was asked; `detail` tells the user why and the next step."""

    def __init__(self, title: str, detail: str = "") -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.title, self.detail = title, detail


class ImageMissing(RuntimeFault):
    """The image is neither here nor to be had."""


def image_gone(reference: str, digest: str) -> ImageMissing:
    """Return the fault of a deployed image that is no longer here; its name may mean another."""
    return ImageMissing(
        f"the image {reference} as it was deployed ({digest}) is no longer here",
        "deploy its service again: windlass deploy NAME",
    )


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
    image_digest: str = ""  # as `prepare` returned it; empty: what the image's name means now
    boost: int = 0  # thousandths of a vCPU until its CPU is limited anew; 0: no more than its limit


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


@dataclass(frozen=True, slots=True)
class Thaw:
    """What lets a frozen instance run on, whoever does it: the text, written into the file."""

    file: str
    text: str


class CpuControl(Protocol):
    """Changes an instance's CPU while it runs; within a millisecond, and no fault if it is gone."""

    def freeze(self, instance: str) -> None:
        """Take the CPU from an instance; it keeps its memory and connections."""

    def thaw(self, instance: str) -> None:
        """Give an instance the CPU back; nothing happens to one that has it."""

    def thawing(self, instance: str) -> Thaw:
        """Return how another process thaws the instance."""

    def limit(self, instance: str, milli_cpu: int) -> None:
        """Set the instance's limit anew, in thousandths of a vCPU."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container that is made and not started."""

    name: str
    made: float  # Unix seconds


class Standby(Protocol):
    """Containers made ahead, one of which a start of their revision takes."""

    async def keep(self, request: Start, count: int) -> None:
        """Make or remove containers until the request's revision has `count` that stand by.

        Raises:
            StartFailed: one could not be made.
            ImageMissing: the image is not to be had.
        """

    async def drop(self, revision: str) -> None:
        """Remove a revision's containers."""

    def waiting(self, revision: str) -> list[Waiting]:
        """Return a revision's containers that stand by, the next one to be taken first."""


class Runtime(Protocol):
    """A way to run instances. Every method may raise RuntimeUnavailable."""

    name: str  # docker, oci, process, fake
    parallel_starts: int  # how many starts at once this engine and machine take well

    @property
    def cpu(self) -> CpuControl | None:
        """What changes instances' CPU; None: it cannot be done, or not at once."""

    @property
    def standby(self) -> Standby | None:
        """What makes containers ahead; None: that would save nothing."""

    async def open(self) -> None:
        """Connect and check.

        Raises:
            RuntimeUnavailable: with the reason and the next step.
        """

    async def close(self) -> None:
        """Let go of the engine; instances go on living."""

    async def prepare(self, container: Container) -> str:
        """Make sure the container's image (or command) is here; return the image's digest.

        By it a start finds this very image when its name means another. A command has none: "".

        Raises:
            ImageMissing: it is not to be had.
        """

    async def retain(self, images: Iterable[str]) -> None:
        """Hear which images, by digest or name, may still be started; the others may go.

        A driver removes nothing that it did not make, nor anything that a living instance needs.
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
