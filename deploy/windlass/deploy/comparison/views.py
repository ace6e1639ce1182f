"""A comparison that was started from the dashboard: its job, what is said of it, how it stands.

Plain values: the process that runs it says `Told`, `Ended` or `Failed`, a line of JSON each.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from windlass.bench.compare import Sample, Settings
from windlass.model.service import Template

State = Literal["running", "ended", "cancelled", "failed"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to do."""

    server: str  # the platform's admin address
    settings: Settings
    template: Template
    report: str  # the file to write


class Told(msgspec.Struct, frozen=True, kw_only=True, tag="told", omit_defaults=True):
    """How one mode stands; numbers are of the whole load so far, times in seconds."""

    mode: str
    stage: str  # deploy, load, settle, delete
    service: str = ""
    elapsed: float = 0.0
    requests: int = 0
    errors: int = 0
    rate: float = 0.0  # requests per second, lately
    latency: tuple[float, float, float] | None = None  # p50, p95, p99
    in_flight: int = 0
    instances: int = 0
    peak_instances: int = 0
    cold_starts: int = 0
    billed_seconds: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """It came to its end; the report is written."""

    ratio: float | None
    said: tuple[str, ...]  # sentences
    rows: tuple[tuple[str, str, str], ...]  # of the table: what, with shared instances, alone
    errors: tuple[str, ...] = ()  # sentences


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It could not go on."""

    why: str


Word = Told | Ended | Failed


class ModeView(msgspec.Struct, kw_only=True):
    """One mode of a run."""

    latest: Told | None = None  # None: it has not begun
    is_over: bool = False
    course: list[Sample] = []


class RunView(msgspec.Struct, kw_only=True):
    """A run as the page shows it and as it is kept."""

    id: str
    title: str
    settings: Settings
    begun: float  # Unix seconds
    state: State = "running"
    why: str = ""  # it failed
    modes: dict[str, ModeView] = {}  # cloudrun, lambda
    result: Ended | None = None
    services: list[str] = []  # that were deployed for it
    is_reported: bool = False  # a report is there

    def take(self, word: Word) -> None:
        """Take what the process says."""
        match word:
            case Told():
                self._told(word)
            case Ended():
                self.result, self.is_reported, self.state = word, True, "ended"
                for mode in self.modes.values():
                    mode.is_over = True
            case Failed():
                self.state, self.why = "failed", word.why

    def _told(self, word: Told) -> None:
        for name, mode in self.modes.items():
            mode.is_over = mode.is_over or (mode.latest is not None and name != word.mode)
        mode = self.modes.setdefault(word.mode, ModeView())
        before = mode.latest
        if word.service and word.service not in self.services:
            self.services.append(word.service)
        if word.stage == "load":
            mode.course.append(
                Sample(
                    second=word.elapsed,
                    in_flight=word.in_flight,
                    instances=word.instances,
                    cost=word.cost,
                )
            )
        elif before is not None:  # what the load came to stays to be seen
            word = _carried(before, word)
        mode.latest = word


def _carried(before: Told, word: Told) -> Told:
    """Return what is said after the load, with the load's own numbers."""
    metered = word if word.cost else before
    return msgspec.structs.replace(
        before,
        stage=word.stage,
        rate=0.0,
        in_flight=0,
        instances=metered.instances,
        peak_instances=metered.peak_instances,
        cold_starts=metered.cold_starts,
        billed_seconds=metered.billed_seconds,
        cost=metered.cost,
    )
