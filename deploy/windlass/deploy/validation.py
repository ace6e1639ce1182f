"""What a service may be: the rules of names, templates and traffic, whoever wrote them.

Manifests, flags and API requests are checked here and nowhere else; each brings its own names of
the fields, so that an error speaks of what the user wrote.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from windlass.deploy.quantity import write_cpu, write_memory
from windlass.deploy.violation import Violation
from windlass.model.service import GIB, MIB, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from windlass.model.service import Container, Limits, Probe, Scaling, Target, Template

MAX_NAME = 49  # Cloud Run's; leaves room for a revision's number and an instance's suffix
MIN_MEMORY, MAX_MEMORY = 16 * MIB, 1024 * GIB
MIN_CPU, MAX_CPU = 10, 256_000  # thousandths; 10 is the least that Docker takes
NAME_ALLOWED = (
    f"at most {MAX_NAME} lower-case letters, digits and hyphens, "
    "the first a letter, the last not a hyphen"
)
MAX_SERVICE_NAME = 1000  # characters that a grpc probe asks for: they go in one frame
RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_LABEL_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9.-]{{1,253}}/)?{_LABEL_PART}", re.ASCII)
_LABEL_VALUE = re.compile(rf"({_LABEL_PART})?", re.ASCII)

# A field of the template -> what the user calls it. `{index}` stands for the place in a list.
Names = dict[str, str]
TEMPLATE_FIELDS = (
    "container.image",
    "container.exec",
    "container.env",
    "container.working_dir",
    "container.user",
    "container.read_only_root",
    "container.port",
    "container.startup_probe",
    "container.liveness_probe",
    "container.readiness_probe",
    "limits.concurrency",
    "limits.milli_cpu",
    "limits.memory",
    "limits.timeout",
    "limits.startup_timeout",
    "scaling.min_instances",
    "scaling.max_instances",
    "scaling.target",
    "scaling.target_utilization",
    "scaling.stable_window",
    "scaling.panic_window",
    "scaling.panic_threshold",
    "scaling.max_scale_up_rate",
    "scaling.max_scale_down_rate",
    "scaling.scale_down_delay",
    "scaling.scale_to_zero_grace",
    "scaling.standby",
    "labels",
)


def field_names(given: Mapping[str, str], prefix: str = "") -> Names:
    """Return a name for every field: the given one, else the model's behind the prefix."""
    return {field: given.get(field, prefix + field) for field in TEMPLATE_FIELDS}


def check_name(name: str, path: str) -> list[Violation]:
    """Return what is wrong with a service's name."""
    if len(name) <= MAX_NAME and _NAME.fullmatch(name):
        return []
    return [Violation(path=path, value=name, allowed=NAME_ALLOWED)]


def check_labels(labels: Sequence[tuple[str, str]], path: str) -> list[Violation]:
    """Return what is wrong with labels; the rules are Kubernetes'."""
    return list(_labels(labels, path))


def check_template(template: Template, names: Names) -> list[Violation]:
    """Return all that is wrong with a template, in the order of its fields."""
    return [
        *_container(template.container, names),
        *_limits(template.limits, template.mode, names),
        *_scaling(template.scaling, names),
        *_labels(template.labels, names["labels"]),
    ]


def check_traffic(traffic: Sequence[Target], path: str) -> list[Violation]:
    """Return what is wrong with a traffic split, its revisions aside."""
    found = [
        Violation(path=f"{path}[{index}].percent", value=str(target.percent), allowed="0 to 100")
        for index, target in enumerate(traffic)
        if not 0 <= target.percent <= 100
    ]
    total = sum(target.percent for target in traffic)
    if not found and total != 100:
        found.append(
            Violation(path=path, value=f"{total} percent", allowed="percents that add up to 100")
        )
    tags = Counter(target.tag for target in traffic if target.tag)
    for index, target in enumerate(traffic):
        place = f"{path}[{index}].tag"
        if target.tag:
            found += check_name(target.tag, place)
        if tags[target.tag] > 1:
            found.append(Violation(path=place, value=target.tag, allowed="each tag once"))
    return found


def _in_range(
    names: Names, field: str, value: float, bounds: tuple[float, float], text: str = "{}"
) -> Iterator[Violation]:
    """Check one number; a NaN is in no range."""
    low, high = bounds
    if not low <= value <= high:
        allowed = f"{text.format(_plain(low))} to {text.format(_plain(high))}"
        yield Violation(path=names[field], value=text.format(_plain(value)), allowed=allowed)


def _plain(number: float) -> str:
    return str(number).removesuffix(".0")


def _container(container: Container, names: Names) -> Iterator[Violation]:
    image, command = names["container.image"], names["container.exec"]
    if bool(container.image) == bool(container.exec):
        given = f"{container.image} and {' '.join(container.exec)}" if container.image else ""
        yield Violation(path=image, value=given, allowed=f"either an image or {command}")
    if container.exec and (container.command or container.args):
        value = " ".join((*container.command, *container.args))
        yield Violation(path=command, value=value, allowed="one whole command line, without args")
    if re.search(r"[\s\x00-\x1f\x7f]", container.image):
        allowed = "an image reference such as nginx:1.27 or registry/name@sha256:..."
        yield Violation(path=image, value=container.image, allowed=allowed)
    yield from _in_range(names, "container.port", container.port, (1, 65535))
    yield from _environment(container, names["container.env"])
    if container.working_dir and not container.working_dir.startswith("/"):
        path, value = names["container.working_dir"], container.working_dir
        yield Violation(path=path, value=value, allowed="an absolute path")
    if container.user is not None:
        yield from _in_range(names, "container.user", container.user, (0, 2**31 - 1))
    if container.read_only_root and container.exec:
        path = names["container.read_only_root"]
        yield Violation(path=path, value="true", allowed="images only: a command has no files")
    for kind in ("startup_probe", "liveness_probe", "readiness_probe"):
        probe: Probe | None = getattr(container, kind)
        if probe is not None:
            yield from _probe(probe, names[f"container.{kind}"])


def _environment(container: Container, path: str) -> Iterator[Violation]:
    for index, (name, value) in enumerate(container.env):
        place = path.format(index=index)
        if name in RESERVED_ENV:
            allowed = "other names: the platform sets this one"
            yield Violation(path=place, value=name, allowed=allowed)
        elif not name or "=" in name or not name.isprintable():
            yield Violation(path=place, value=name, allowed="a name without '='")
        if "\0" in value:
            yield Violation(path=place, value=name, allowed="a value without a NUL character")


def _probe(probe: Probe, path: str) -> Iterator[Violation]:
    def wrong(field: str, value: object, allowed: str) -> Violation:
        return Violation(path=f"{path}.{field}", value=str(value), allowed=allowed)

    if probe.port is not None and not 1 <= probe.port <= 65535:
        yield wrong("port", probe.port, "1 to 65535")
    if probe.kind == "http" and not probe.path.startswith("/"):
        yield wrong("path", probe.path, "a path that starts with '/'")
    if len(probe.grpc_service) > MAX_SERVICE_NAME or not probe.grpc_service.isprintable():
        allowed = f"at most {MAX_SERVICE_NAME} printable characters"
        yield wrong("service", probe.grpc_service, allowed)
    if not 0 <= probe.initial_delay <= 240:
        yield wrong("initialDelaySeconds", _plain(probe.initial_delay), "0 to 240")
    if not 0 < probe.period <= 3600:
        yield wrong("periodSeconds", _plain(probe.period), "1 to 3600")
    elif not 0 < probe.timeout <= probe.period:
        allowed = f"1 to periodSeconds ({_plain(probe.period)})"
        yield wrong("timeoutSeconds", _plain(probe.timeout), allowed)
    if not 1 <= probe.failure_threshold <= 1000:
        yield wrong("failureThreshold", probe.failure_threshold, "1 to 1000")


def _limits(limits: Limits, mode: Mode, names: Names) -> Iterator[Violation]:
    path, value = names["limits.concurrency"], str(limits.concurrency)
    if not 1 <= limits.concurrency <= 1000:
        # Without a limit an instance would never be joined by another one.
        allowed = "1 to 1000 (0, which is unlimited in Knative, is not to be had here)"
        yield Violation(path=path, value=value, allowed=allowed)
    elif mode is Mode.LAMBDA and limits.concurrency != 1:
        yield Violation(path=path, value=value, allowed="1 in lambda mode, or leave it out")
    yield from _written(names["limits.milli_cpu"], limits.milli_cpu, MIN_CPU, MAX_CPU, write_cpu)
    yield from _written(names["limits.memory"], limits.memory, MIN_MEMORY, MAX_MEMORY, write_memory)
    yield from _in_range(names, "limits.timeout", limits.timeout, (1, 3600), "{}s")
    yield from _in_range(names, "limits.startup_timeout", limits.startup_timeout, (1, 3600), "{}s")


def _written(
    path: str, value: int, low: int, high: int, write: Callable[[int], str]
) -> Iterator[Violation]:
    if not low <= value <= high:
        yield Violation(path=path, value=write(value), allowed=f"{write(low)} to {write(high)}")


def _scaling(scaling: Scaling, names: Names) -> Iterator[Violation]:
    yield from _in_range(names, "scaling.min_instances", scaling.min_instances, (0, 1000))
    yield from _in_range(names, "scaling.max_instances", scaling.max_instances, (1, 1000))
    if 1 <= scaling.max_instances < scaling.min_instances <= 1000:
        yield Violation(
            path=names["scaling.min_instances"],
            value=str(scaling.min_instances),
            allowed=f"at most {names['scaling.max_instances']} ({scaling.max_instances})",
        )
    yield from _in_range(names, "scaling.standby", scaling.standby, (0, 100))
    if scaling.target is not None:
        yield from _in_range(names, "scaling.target", scaling.target, (0.01, 1000))
    yield from _in_range(names, "scaling.target_utilization", scaling.target_utilization, (0.01, 1))
    yield from _in_range(names, "scaling.stable_window", scaling.stable_window, (1, 3600), "{}s")
    if 1 <= scaling.stable_window <= 3600:
        bounds = (0.1, scaling.stable_window)
        yield from _in_range(names, "scaling.panic_window", scaling.panic_window, bounds, "{}s")
    yield from _in_range(names, "scaling.panic_threshold", scaling.panic_threshold, (1.1, 10))
    for field in ("max_scale_up_rate", "max_scale_down_rate"):
        yield from _in_range(names, f"scaling.{field}", getattr(scaling, field), (1.1, 1000))
    for field in ("scale_down_delay", "scale_to_zero_grace"):
        yield from _in_range(names, f"scaling.{field}", getattr(scaling, field), (0, 3600), "{}s")


def _labels(labels: Sequence[tuple[str, str]], path: str) -> Iterator[Violation]:
    for key, value in labels:
        if not _LABEL_KEY.fullmatch(key):
            allowed = "keys of at most 63 letters, digits, '-', '_' and '.'"
            yield Violation(path=path, value=key, allowed=allowed)
        if not _LABEL_VALUE.fullmatch(value):
            allowed = "values of at most 63 letters, digits, '-', '_' and '.'"
            yield Violation(path=f"{path}.{key}", value=value, allowed=allowed)
