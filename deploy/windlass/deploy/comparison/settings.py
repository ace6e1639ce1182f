"""What a comparison is asked: read from a command's flags or a page's form, all faults at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from windlass.bench.compare import Settings
from windlass.deploy.cli.flags import FlagReader, Flags, read_number, read_template, read_whole
from windlass.deploy.quantity import read_duration
from windlass.deploy.violation import Violation
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windlass.model.service import Template


@dataclass(frozen=True, slots=True)
class Asked:
    """The load and what it is put on; both modes' templates are made of this one."""

    settings: Settings
    template: Template


def read(
    image: str,
    command_line: str | None,
    flags: Mapping[str, str | None],
    service: str = "",
    base: Template | None = None,
) -> tuple[Asked, list[Violation]]:
    """Return what is asked, and all that is wrong with it, each by its flag.

    Args:
        image: to run, or empty.
        command_line: to run instead, or None.
        flags: as typed, without hyphens; None: not given.
        service: whose latest ready revision's template `base` is.
        base: what holds where nothing else is said.
    """
    typed = Flags(
        image=image or None,
        exec=command_line,
        concurrency=flags["concurrency"],
        cpu=flags["cpu"],
        memory=flags["memory"],
        mode=Mode.CLOUDRUN,
    )
    template, wrong = read_template(typed, base)
    reader = FlagReader()
    rate = reader.take("--rate", flags["rate"], read_number)
    clients = reader.take("--clients", flags["clients"], read_whole)
    duration = reader.take("--duration", flags["duration"], read_duration)
    ramp = reader.take("--ramp", flags["ramp"], read_duration)
    wrong += reader.wrong
    path = flags["path"] or "/"
    if not path.startswith("/"):
        wrong.append(Violation(path="--path", value=path, allowed="a path that starts with '/'"))
    settings = Settings(
        service=service,
        image=template.container.image,
        exec=template.container.exec,
        rate=rate or 0.0,
        clients=clients,
        duration=duration or 0.0,
        ramp=ramp or 0.0,
        path=path,
        concurrency=template.limits.concurrency,
        milli_cpu=template.limits.milli_cpu,
        memory=template.limits.memory,
        against=flags.get("against"),
    )
    return Asked(settings, template), wrong


def template_for(asked: Asked, mode: Mode, max_instances: int) -> Template:
    """Return the template that is deployed in a mode."""
    template = asked.template
    concurrency = 1 if mode is Mode.LAMBDA else asked.settings.concurrency
    return msgspec.structs.replace(
        template,
        mode=mode,
        budget=None,  # that of a service is not for this load
        limits=msgspec.structs.replace(template.limits, concurrency=concurrency),
        scaling=msgspec.structs.replace(
            template.scaling, min_instances=0, max_instances=max_instances
        ),
    )


def ramped(asked: Asked, ramp: float) -> Asked:
    """Return the same with another ramp, in seconds."""
    return replace(asked, settings=replace(asked.settings, ramp=ramp))
