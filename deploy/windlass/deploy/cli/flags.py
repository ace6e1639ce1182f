"""The flags of `windlass deploy`, in gcloud's terms, made into a template.

What is not given stays as the service's latest revision has it, as with `gcloud run deploy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from windlass.deploy.quantity import (
    BUDGET_ALLOWED,
    BadQuantity,
    read_budget,
    read_command_line,
    read_cpu,
    read_duration,
    read_memory,
)
from windlass.deploy.validation import check_template, field_names
from windlass.deploy.violation import Violation
from windlass.model.budget import Action, Budget
from windlass.model.service import Container, Limits, Mode, Scaling, Target, Template

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Struct = TypeVar("Struct", bound=msgspec.Struct)

Pairs = tuple[tuple[str, str], ...]

NO_BUDGET = "none"  # takes a budget away
NAMES = field_names(
    {
        "container.image": "--image",
        "container.exec": "--exec",
        "container.env": "--set-env-vars",
        "container.port": "--port",
        "limits.concurrency": "--concurrency",
        "limits.milli_cpu": "--cpu",
        "limits.memory": "--memory",
        "limits.timeout": "--timeout",
        "scaling.min_instances": "--min-instances",
        "scaling.max_instances": "--max-instances",
        "scaling.stable_window": "--window",
        "scaling.scale_to_zero_grace": "--scale-to-zero-grace",
        "scaling.standby": "--standby",
        "container.read_only_root": "--read-only-root",
        "labels": "--labels",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the user typed; None: not given."""

    image: str | None = None
    exec: str | None = None
    port: str | None = None
    concurrency: str | None = None
    cpu: str | None = None
    memory: str | None = None
    min_instances: str | None = None
    max_instances: str | None = None
    timeout: str | None = None
    set_env_vars: str | None = None
    command: str | None = None
    args: str | None = None
    mode: str | None = None
    window: str | None = None
    scale_to_zero_grace: str | None = None
    standby: str | None = None
    cpu_throttling: bool | None = None
    cpu_boost: bool | None = None
    read_only_root: bool | None = None
    use_http2: bool | None = None
    session_affinity: bool | None = None
    budget: str | None = None
    budget_action: str | None = None


class FlagReader:
    """Reads one flag after the other and keeps what is wrong."""

    def __init__(self) -> None:
        self.wrong: list[Violation] = []

    def take(self, flag: str, text: str | None, read: Callable[[str], T]) -> T | None:
        """Return a flag's value; None where it is not given or wrong."""
        if text is None:
            return None
        try:
            return read(text)
        except BadQuantity as error:
            self.wrong.append(Violation(path=flag, value=text, allowed=error.allowed))
            return None


def read_template(flags: Flags, base: Template | None) -> tuple[Template, list[Violation]]:
    """Return the template that the flags ask for on top of `base`, and all that is wrong."""
    known = base or Template(container=Container())
    reader = FlagReader()
    mode = Mode(flags.mode) if flags.mode else known.mode
    template = Template(
        container=_container(flags, known.container, reader),
        limits=_limits(flags, known, mode, reader),
        scaling=_scaling(flags, known.scaling, reader),
        mode=mode,
        labels=known.labels,
        session_affinity=(
            known.session_affinity if flags.session_affinity is None else flags.session_affinity
        ),
        budget=_budget(flags, known.budget, reader),
    )
    failed = {violation.path for violation in reader.wrong}
    found = [v for v in check_template(template, NAMES) if v.path not in failed]
    return template, reader.wrong + found


def read_whole(text: str) -> int:
    """Return a whole number of at most nine digits.

    Raises:
        BadQuantity: not one.
    """
    if not (text.removeprefix("-").isdigit() and text.isascii() and len(text) <= 9):
        raise BadQuantity(text, "a whole number")
    return int(text)


def read_number(text: str) -> float:
    """Return a number above zero.

    Raises:
        BadQuantity: not a number, or not above zero.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise BadQuantity(text, "a number above zero")
    return number


def read_list(text: str) -> tuple[str, ...]:
    """Return the items of a list in gcloud's form: a,b or ^;^a;b with a separator of one's own."""
    separator = ","
    if text.startswith("^") and (end := text.find("^", 1)) > 1:
        separator, text = text[1:end], text[end + 1 :]
    return tuple(text.split(separator)) if text else ()


def read_pairs(text: str) -> Pairs:
    """Return KEY=VALUE items of a list as `read_list` takes it.

    Raises:
        BadQuantity: an item without '='.
    """
    items = [item.partition("=") for item in read_list(text)]
    if not all(key and equals for key, equals, _ in items):
        allowed = "KEY=VALUE,KEY=VALUE, or ^;^KEY=VALUE;KEY=VALUE where values have commas"
        raise BadQuantity(text, allowed)
    return tuple({key: value for key, _, value in items}.items())


def read_percents(text: str) -> tuple[Target, ...]:
    """Return traffic targets from REVISION=PERCENT items, LATEST among them.

    Raises:
        BadQuantity: an item without its percent.
    """
    return tuple(
        Target(revision=None if revision == "LATEST" else revision, percent=read_whole(percent))
        for revision, percent in read_pairs(text)
    )


def _container(flags: Flags, known: Container, reader: FlagReader) -> Container:
    container = known
    command_line = reader.take("--exec", flags.exec, read_command_line)
    # One takes the place of the other; both at once is a fault that the rules find.
    if flags.image is not None:
        container = msgspec.structs.replace(container, image=flags.image, exec=())
    if command_line is not None:
        container = msgspec.structs.replace(
            container, image=flags.image or "", exec=command_line, command=(), args=()
        )
    return _given(
        container,
        port=reader.take("--port", flags.port, read_whole),
        env=reader.take("--set-env-vars", flags.set_env_vars, read_pairs),
        command=reader.take("--command", flags.command, read_list),
        args=reader.take("--args", flags.args, read_list),
        read_only_root=flags.read_only_root,
        protocol=None if flags.use_http2 is None else ("h2c" if flags.use_http2 else "http1"),
    )


def _limits(flags: Flags, known: Template, mode: Mode, reader: FlagReader) -> Limits:
    concurrency = reader.take("--concurrency", flags.concurrency, read_whole)
    if flags.concurrency is None and mode is not known.mode:
        concurrency = 1 if mode is Mode.LAMBDA else Limits().concurrency
    return _given(
        known.limits,
        concurrency=concurrency,
        milli_cpu=reader.take("--cpu", flags.cpu, read_cpu),
        memory=reader.take("--memory", flags.memory, read_memory),
        timeout=reader.take("--timeout", flags.timeout, read_duration),
        cpu_throttling=flags.cpu_throttling,
        cpu_boost=flags.cpu_boost,
    )


def _scaling(flags: Flags, known: Scaling, reader: FlagReader) -> Scaling:
    window = reader.take("--window", flags.window, read_duration)
    grace = reader.take("--scale-to-zero-grace", flags.scale_to_zero_grace, read_duration)
    return _given(
        known,
        min_instances=reader.take("--min-instances", flags.min_instances, read_whole),
        max_instances=reader.take("--max-instances", flags.max_instances, read_whole),
        stable_window=window,
        # Knative's panic window is a tenth of the stable one.
        panic_window=None if window is None else window / 10,
        scale_to_zero_grace=grace,
        standby=reader.take("--standby", flags.standby, read_whole),
    )


def _budget(flags: Flags, known: Budget | None, reader: FlagReader) -> Budget | None:
    if flags.budget == NO_BUDGET:
        return None
    if read := reader.take("--budget", flags.budget, read_budget):
        action = known.action if known else Action.WARN
        known = Budget(amount=read[0], period=read[1], action=action)
    if known is None:
        if flags.budget_action and not flags.budget:
            allowed = f"--budget besides; {BUDGET_ALLOWED}"
            reader.wrong.append(
                Violation(path="--budget-action", value=flags.budget_action, allowed=allowed)
            )
        return None
    action = Action(flags.budget_action) if flags.budget_action else known.action
    return msgspec.structs.replace(known, action=action)


def _given(value: Struct, **changes: object) -> Struct:
    """Return the value with those changes that are not None."""
    given = {field: change for field, change in changes.items() if change is not None}
    return msgspec.structs.replace(value, **given)
