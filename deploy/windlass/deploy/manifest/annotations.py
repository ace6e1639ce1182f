"""What annotations of a manifest ask for: scaling, mode and Windlass' own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.deploy.manifest.section import Findings, convert
from windlass.deploy.quantity import (
    BUDGET_ALLOWED,
    BadQuantity,
    read_budget,
    read_command_line,
    read_duration,
)
from windlass.model.budget import Action, Budget, Period
from windlass.model.service import Mode, Scaling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from typing import TypeVar

    T = TypeVar("T")

KNATIVE = "autoscaling.knative.dev/"
GOOGLE = "run.googleapis.com/"
OWN = "windlass.dev/"
MODE, EXEC = f"{OWN}mode", f"{OWN}exec"
BUDGET, BUDGET_ACTION = f"{OWN}budget", f"{OWN}budget-action"
SESSION_AFFINITY = f"{GOOGLE}sessionAffinity"
CPU_THROTTLING = f"{GOOGLE}cpu-throttling"
CPU_BOOST = f"{GOOGLE}startup-cpu-boost"
STANDBY = f"{OWN}standby"
HEALTH_CHECK_DISABLED = f"{GOOGLE}health-check-disabled"

_ANNOTATIONS = {
    "min_instances": ("min-scale", "minScale"),
    "max_instances": ("max-scale", "maxScale"),
    "target": ("target",),
    "target_utilization": ("target-utilization-percentage", "targetUtilizationPercentage"),
    "stable_window": ("window",),
    "panic_window": ("panic-window-percentage", "panicWindowPercentage"),
    "panic_threshold": ("panic-threshold-percentage", "panicThresholdPercentage"),
    "scale_down_delay": ("scale-down-delay", "scaleDownDelay"),
    "scale_to_zero_grace": (
        "scale-to-zero-pod-retention-period",
        "scaleToZeroPodRetentionPeriod",
    ),
}
_INEFFECTIVE = ("initial-scale", "initialScale", "activation-scale", "activationScale")
_FIXED = {"class": "kpa.autoscaling.knative.dev", "metric": "concurrency"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the annotations of a revision template ask for."""

    scaling: Scaling
    mode: Mode
    exec: tuple[str, ...]
    health_check: bool
    session_affinity: bool
    budget: Budget | None
    cpu_throttling: bool
    cpu_boost: bool


def annotation_path(path: str, field: str) -> str:
    """Return where the annotation of a field of Scaling is looked for first."""
    if field == "standby":
        return f"{path}.{STANDBY}"
    return f"{path}.{KNATIVE}{_ANNOTATIONS[field][0]}"


def read_annotations(given: Mapping[str, str], path: str, findings: Findings) -> Asked:
    """Read a revision template's annotations; those of other tools are let be."""
    asked = Asked(
        scaling=_scaling(given, path, findings),
        mode=_take(given, MODE, _mode, Mode.CLOUDRUN, path, findings),
        exec=_take(given, EXEC, read_command_line, (), path, findings),
        health_check=_take(given, HEALTH_CHECK_DISABLED, _truth, False, path, findings) is False,
        session_affinity=_take(given, SESSION_AFFINITY, _truth, False, path, findings),
        cpu_throttling=_take(given, CPU_THROTTLING, _truth, True, path, findings),
        cpu_boost=_take(given, CPU_BOOST, _truth, True, path, findings),
        budget=_budget(given, path, findings),
    )
    known = {f"{KNATIVE}{name}" for names in _ANNOTATIONS.values() for name in names}
    known |= {MODE, EXEC, HEALTH_CHECK_DISABLED, SESSION_AFFINITY, BUDGET, BUDGET_ACTION}
    known |= {STANDBY, CPU_THROTTLING, CPU_BOOST}
    for key, value in given.items():
        _judge(key, value, known, path, findings)
    return asked


def warn_of_service_annotations(given: Mapping[str, str], path: str, findings: Findings) -> None:
    """Note what annotations of the service itself do: nothing here."""
    for key in given:
        if key.startswith((KNATIVE, OWN)):
            allowed = "this annotation under spec.template.metadata"
            findings.wrong(f"{path}.{key}", given[key], allowed)
        elif key.startswith(GOOGLE):
            findings.ineffective(f"{path}.{key}")


def _judge(key: str, value: str, known: set[str], path: str, findings: Findings) -> None:
    """Note a key that is given and not read."""
    if key in known:
        return
    place, name = f"{path}.{key}", key.partition("/")[2]
    if key.startswith(KNATIVE) and name in _FIXED:
        if value != _FIXED[name]:
            findings.wrong(place, value, _FIXED[name])
    elif key.startswith(GOOGLE) or (key.startswith(KNATIVE) and name in _INEFFECTIVE):
        findings.ineffective(place)
    elif key.startswith((KNATIVE, OWN)):
        ours = sorted(name for name in known if name.startswith(key.partition("/")[0]))
        findings.wrong(place, value, f"no such annotation; known here: {', '.join(ours)}")


def _scaling(given: Mapping[str, str], path: str, findings: Findings) -> Scaling:
    plain = Scaling()

    def take(field: str, read: Callable[[str], T], default: T) -> T:
        for name in _ANNOTATIONS[field]:
            if KNATIVE + name in given:
                return _take(given, KNATIVE + name, read, default, path, findings)
        return default

    window = take("stable_window", read_duration, plain.stable_window)
    return Scaling(
        min_instances=take("min_instances", _whole, plain.min_instances),
        max_instances=take("max_instances", _whole, plain.max_instances),
        target=take("target", _number, plain.target),
        target_utilization=take("target_utilization", _percent, plain.target_utilization),
        stable_window=window,
        # Knative's panic window is a tenth of the stable one unless told otherwise.
        panic_window=take("panic_window", _percent, 0.1) * window,
        panic_threshold=take("panic_threshold", _percent, plain.panic_threshold),
        scale_down_delay=take("scale_down_delay", read_duration, plain.scale_down_delay),
        scale_to_zero_grace=take("scale_to_zero_grace", read_duration, plain.scale_to_zero_grace),
        standby=_take(given, STANDBY, _whole, plain.standby, path, findings),
    )


def _budget(given: Mapping[str, str], path: str, findings: Findings) -> Budget | None:
    action = _take(given, BUDGET_ACTION, _action, Action.WARN, path, findings)
    read = _take(given, BUDGET, _amount, None, path, findings)
    if read is None:
        if BUDGET_ACTION in given and BUDGET not in given:
            allowed = f"{BUDGET} besides; {BUDGET_ALLOWED}"
            findings.wrong(f"{path}.{BUDGET_ACTION}", given[BUDGET_ACTION], allowed)
        return None
    return Budget(amount=read[0], period=read[1], action=action)


def _take(
    given: Mapping[str, str],
    key: str,
    read: Callable[[str], T],
    default: T,
    path: str,
    findings: Findings,
) -> T:
    if key not in given:
        return default
    return convert(given[key], read, default, f"{path}.{key}", findings)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadQuantity(text, "a whole number in quotes")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadQuantity(text, "a number in quotes")
    return number


def _percent(text: str) -> float:
    return _number(text) / 100


def _mode(text: str) -> Mode:
    if text not in list(Mode):
        raise BadQuantity(text, " or ".join(Mode))
    return Mode(text)


def _amount(text: str) -> tuple[Decimal, Period] | None:
    return read_budget(text)


def _action(text: str) -> Action:
    if text not in list(Action):
        raise BadQuantity(text, " or ".join(Action))
    return Action(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise BadQuantity(text, "'true' or 'false'")
    return text == "true"
