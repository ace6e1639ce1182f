"""A manifest's container: image, command, environment, port, limits and probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from windlass.deploy.quantity import read_cpu, read_memory
from windlass.model.service import Container, Limits, Probe

if TYPE_CHECKING:
    from windlass.deploy.manifest.section import Section


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What the container's section says: what runs, and what it may use."""

    container: Container
    milli_cpu: int
    memory: int


def read_container(section: Section) -> ContainerSpec:
    """Read one item of `containers`."""
    port, protocol = _port(section)
    milli_cpu, memory = _resources(section.section("resources"))
    user, read_only = _security(section.section("securityContext"))
    container = Container(
        image=section.string("image"),
        command=section.strings("command"),
        args=section.strings("args"),
        env=_environment(section),
        working_dir=section.string("workingDir"),
        user=user,
        read_only_root=read_only,
        port=port,
        protocol=protocol,
        startup_probe=_probe(section, "startupProbe"),
        liveness_probe=_probe(section, "livenessProbe"),
        readiness_probe=_probe(section, "readinessProbe"),
    )
    section.ignore("name")
    section.ineffective("imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy")
    section.refuse("volumeMounts", "nothing: volumes are not supported")
    section.refuse("envFrom", "nothing: give each variable under env")
    section.close()
    return ContainerSpec(container, milli_cpu, memory)


def _environment(section: Section) -> tuple[tuple[str, str], ...]:
    variables = []
    for item in section.sections("env"):
        variables.append((item.string("name"), item.string("value")))
        item.refuse("valueFrom", "nothing: give a value; secrets are not supported")
        item.close()
    return tuple(variables)


def _port(section: Section) -> tuple[int, Literal["http1", "h2c"]]:
    items = section.sections("ports")
    if len(items) > 1:
        section.findings.wrong(section.at("ports"), f"{len(items)} ports", "one port")
    port, protocol = 8080, "http1"
    for item in items:
        port = item.integer("containerPort", 8080)
        protocol = item.string("name") or "http1"
        if protocol not in ("http1", "h2c"):
            item.wrong("name", "http1 or h2c")
        if item.string("protocol", "TCP") != "TCP":
            item.wrong("protocol", "TCP")
        item.close()
    return port, "h2c" if protocol == "h2c" else "http1"


def _resources(section: Section) -> tuple[int, int]:
    limits = section.section("limits")
    milli_cpu = limits.quantity("cpu", read_cpu, Limits().milli_cpu)
    memory = limits.quantity("memory", read_memory, Limits().memory)
    limits.close()
    section.ineffective("requests")
    section.close()
    return milli_cpu, memory


def _security(section: Section) -> tuple[int | None, bool]:
    user = section.integer("runAsUser", None)
    read_only = section.boolean("readOnlyRootFilesystem", False)
    section.ineffective(
        "allowPrivilegeEscalation",
        "capabilities",
        "runAsGroup",
        "runAsNonRoot",
        "seccompProfile",
    )
    section.close()
    return user, read_only


def _probe(container: Section, key: str) -> Probe | None:
    """Read a probe; zero means the default, as in Kubernetes."""
    given = container.has(key)
    section = container.section(key)
    if not given:
        return None
    http, tcp, grpc = (section.section(kind) for kind in ("httpGet", "tcpSocket", "grpc"))
    if sum(section.has(kind) for kind in ("httpGet", "tcpSocket", "grpc")) > 1:
        section.findings.wrong(section.path, "several checks", "one of httpGet, tcpSocket, grpc")
    section.refuse("exec", "nothing: use httpGet, tcpSocket or grpc")
    kind: Literal["tcp", "http", "grpc"] = (
        "http" if section.has("httpGet") else "grpc" if section.has("grpc") else "tcp"
    )
    if http.string("scheme", "HTTP") != "HTTP":
        http.wrong("scheme", "HTTP")
    ports = [checked.integer("port", 0) for checked in (http, tcp, grpc)]
    probe = Probe(
        kind=kind,
        port=max(ports, key=abs) or None,
        path=http.string("path") or "/",
        headers=_headers(http),
        grpc_service=grpc.string("service"),
        initial_delay=float(section.integer("initialDelaySeconds", 0)),
        period=float(section.integer("periodSeconds", 0) or 10),
        timeout=float(section.integer("timeoutSeconds", 0) or 1),
        failure_threshold=section.integer("failureThreshold", 0) or 3,
    )
    for checked in (http, tcp):
        checked.ineffective("host")
    if section.integer("successThreshold", 1) not in (0, 1):
        section.wrong("successThreshold", "1")
    section.ineffective("terminationGracePeriodSeconds")
    for checked in (http, tcp, grpc, section):
        checked.close()
    return probe


def _headers(http: Section) -> tuple[tuple[str, str], ...]:
    headers = []
    for item in http.sections("httpHeaders"):
        name, value = item.string("name"), item.string("value")
        # A line break in either would end the header and begin another one.
        if not name or not name.isascii() or not name.isprintable() or set(name) & set(" :"):
            item.wrong("name", "a header's name")
        if not value.isprintable():
            item.wrong("value", "text without control characters")
        headers.append((name, value))
        item.close()
    return tuple(headers)
