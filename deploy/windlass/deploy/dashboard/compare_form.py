"""The form that starts a comparison: its fields, and what is wrong with what was typed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windlass.deploy.comparison import settings
from windlass.deploy.quantity import write_cpu, write_memory
from windlass.deploy.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windlass.bench.compare import Settings
    from windlass.deploy.comparison.settings import Asked
    from windlass.model.service import Template

USUAL = {
    "service": "",
    "image": "",
    "exec": "",
    "amount": "100",
    "kind": "rate",
    "duration": "30s",
    "path": "/",
    "concurrency": "",
    "cpu": "",
    "memory": "",
}
MAX_DURATION = 900.0  # seconds
MAX_RATE = 5000.0  # requests a second
MAX_CLIENTS = 2000
MAX_RAMP = 5.0  # seconds
FIELDS = {"--rate": "amount", "--clients": "amount"}  # flag -> field, where they differ


@dataclass(frozen=True, slots=True)
class Form:
    """What was typed, and what is wrong with it, by field; `""`: with all of it."""

    typed: Mapping[str, str]
    wrong: Mapping[str, str] = field(default_factory=dict)


def read(typed: Mapping[str, str], services: Sequence[str] = ()) -> Form:
    """Return the form as typed; `services`: the first stands in where nothing else is said."""
    known = {name: typed.get(name, usual).strip() for name, usual in USUAL.items()}
    if "service" not in typed and not known["image"] and not known["exec"] and services:
        known["service"] = services[0]
    return Form(known)


def of(load: Settings) -> dict[str, str]:
    """Return the fields of a form that asks for the same load again."""
    return {
        "service": load.service,
        "image": "" if load.service else load.image,
        "exec": "" if load.service else shlex.join(load.exec),
        "amount": f"{load.rate:g}" if load.clients is None else str(load.clients),
        "kind": "rate" if load.clients is None else "clients",
        "duration": f"{load.duration:g}s",
        "path": load.path,
        "concurrency": str(load.concurrency),
        "cpu": write_cpu(load.milli_cpu),
        "memory": write_memory(load.memory),
    }


def sources(form: Form) -> list[str]:
    """Return the fields that say what runs, of which one is to be given."""
    return [name for name in ("service", "image", "exec") if form.typed[name]]


def asked(form: Form, base: Template | None) -> tuple[Asked, dict[str, str]]:
    """Return the comparison that a form asks for, and what is wrong with it, by field.

    `base`: the template of the form's service, if it names one.
    """
    typed = {name: text or None for name, text in form.typed.items()}
    by_rate = typed["kind"] != "clients"
    flags = {
        "rate": typed["amount"] or "" if by_rate else "1",
        "clients": None if by_rate else typed["amount"] or "",
        "duration": typed["duration"] or "",
        "ramp": "0",
        "path": typed["path"],
        "concurrency": typed["concurrency"],
        "cpu": typed["cpu"],
        "memory": typed["memory"],
    }
    found, wrong = settings.read(
        form.typed["image"], typed["exec"], flags, form.typed["service"], base
    )
    wrong += _beyond(found)
    ramp = min(MAX_RAMP, round(found.settings.duration / 6, 1))
    return settings.ramped(found, ramp), _by_field(wrong)


def _beyond(found: Asked) -> list[Violation]:
    """Return what is more than a page may start: who needs more has the command line."""
    load = found.settings
    wrong = []
    if load.clients is None and load.rate > MAX_RATE:
        allowed = f"at most {MAX_RATE:g} requests a second from here"
        wrong.append(Violation(path="--rate", value=f"{load.rate:g}", allowed=allowed))
    if load.clients is not None and not 1 <= load.clients <= MAX_CLIENTS:
        allowed = f"1 to {MAX_CLIENTS} clients from here"
        wrong.append(Violation(path="--clients", value=str(load.clients), allowed=allowed))
    if not 1 <= load.duration <= MAX_DURATION:
        allowed = "1s to 15m from here"
        wrong.append(Violation(path="--duration", value=f"{load.duration:g}s", allowed=allowed))
    return wrong


def _by_field(wrong: Sequence[Violation]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in wrong:
        name = FIELDS.get(one.path, one.path.removeprefix("--"))
        known = name if name in USUAL else ""
        value = f"“{one.value}” is not allowed; " if one.value else ""
        found.setdefault(known, f"{value}allowed: {one.allowed}")
    return found
