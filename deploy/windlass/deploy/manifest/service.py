"""A whole manifest: a serving.knative.dev/v1 Service as users of Cloud Run and Knative have it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from windlass.deploy.manifest.annotations import (
    EXEC,
    annotation_path,
    read_annotations,
    warn_of_service_annotations,
)
from windlass.deploy.manifest.container import ContainerSpec, read_container
from windlass.deploy.manifest.document import load
from windlass.deploy.manifest.faults import ManifestError
from windlass.deploy.manifest.section import Findings, Section
from windlass.deploy.validation import (
    Names,
    check_labels,
    check_name,
    check_template,
    check_traffic,
    field_names,
)
from windlass.model.service import Container, Limits, Mode, Scaling, Target, Template

API_VERSION = "serving.knative.dev/v1"
_ANNOTATIONS = "spec.template.metadata.annotations"
_CONTAINER = "spec.template.spec.containers[0]"

# What a cluster writes into an object that it exports.
_EXPORTED = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)

_NAMES: Names = field_names(
    {
        "container.image": f"{_CONTAINER}.image",
        "container.exec": f"the annotation {EXEC}",
        "container.env": f"{_CONTAINER}.env[{{index}}].name",
        "container.working_dir": f"{_CONTAINER}.workingDir",
        "container.user": f"{_CONTAINER}.securityContext.runAsUser",
        "container.read_only_root": f"{_CONTAINER}.securityContext.readOnlyRootFilesystem",
        "container.port": f"{_CONTAINER}.ports[0].containerPort",
        "container.startup_probe": f"{_CONTAINER}.startupProbe",
        "container.liveness_probe": f"{_CONTAINER}.livenessProbe",
        "container.readiness_probe": f"{_CONTAINER}.readinessProbe",
        "limits.concurrency": "spec.template.spec.containerConcurrency",
        "limits.milli_cpu": f"{_CONTAINER}.resources.limits.cpu",
        "limits.memory": f"{_CONTAINER}.resources.limits.memory",
        "limits.timeout": "spec.template.spec.timeoutSeconds",
        "labels": "spec.template.metadata.labels",
    }
    | {
        f"scaling.{field}": annotation_path(_ANNOTATIONS, field)
        for field in Scaling.__struct_fields__
        if not field.startswith("max_scale_")  # Knative has no annotation for these two
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """What a manifest says."""

    name: str
    template: Template
    labels: tuple[tuple[str, str], ...] = ()
    traffic: tuple[Target, ...] = (Target(),)
    health_check: bool = True
    warnings: tuple[str, ...] = ()  # fields that are taken and have no effect here


def read(text: str) -> ServiceSpec:
    """Read a manifest in YAML (or JSON, which is YAML).

    Raises:
        ManifestError: not YAML, or with all of its wrong fields.
    """
    return read_node(load(text))


def read_node(node: object) -> ServiceSpec:
    """Read a manifest from plain values; raises as `read`."""
    findings = Findings()
    top = Section(node, "", findings)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Service")):
        if top.string(key) != wanted:
            top.wrong(key, wanted)
    name, labels = _metadata(top.section("metadata"))
    spec = top.section("spec")
    template, health_check = _template(spec.section("template"))
    traffic = _traffic(spec)
    top.ignore("status")
    for section in (top, spec):
        section.close()
    findings.violations += [
        *check_name(name, "metadata.name"),
        *check_labels(labels, "metadata.labels"),
        *check_template(template, _NAMES),
    ]
    # A list of targets that could not be read adds up to nothing that means something.
    if not any(wrong.path.startswith("spec.traffic") for wrong in findings.violations):
        findings.violations += check_traffic(traffic, "spec.traffic")
    if findings.violations:
        count = len(findings.violations)
        fields = "1 field is" if count == 1 else f"{count} fields are"
        raise ManifestError(f"{fields} wrong; nothing was changed", findings.violations)
    return ServiceSpec(
        name=name,
        template=template,
        labels=labels,
        traffic=traffic,
        health_check=health_check,
        warnings=tuple(findings.warnings),
    )


def _metadata(section: Section) -> tuple[str, tuple[tuple[str, str], ...]]:
    name = section.string("name")
    labels = section.texts("labels")
    annotations = section.texts("annotations")
    warn_of_service_annotations(annotations, section.at("annotations"), section.findings)
    section.ineffective("namespace")
    section.ignore(*_EXPORTED)
    section.close()
    return name, tuple(labels.items())


def _template(section: Section) -> tuple[Template, bool]:
    findings = section.findings
    metadata = section.section("metadata")
    labels = metadata.texts("labels")
    annotations = metadata.texts("annotations")
    asked = read_annotations(annotations, metadata.at("annotations"), findings)
    metadata.ineffective("name", "namespace")  # revisions are named NAME-00001 here
    metadata.ignore(*_EXPORTED)
    spec = section.section("spec")
    read = _containers(spec)
    limits = Limits(
        concurrency=spec.integer(
            "containerConcurrency", 1 if asked.mode is Mode.LAMBDA else Limits().concurrency
        ),
        milli_cpu=read.milli_cpu,
        memory=read.memory,
        timeout=float(spec.integer("timeoutSeconds", int(Limits().timeout))),
        cpu_throttling=asked.cpu_throttling,
        cpu_boost=asked.cpu_boost,
    )
    spec.ineffective(
        "serviceAccountName",
        "enableServiceLinks",
        "imagePullSecrets",
        "responseStartTimeoutSeconds",
        "idleTimeoutSeconds",
        "nodeSelector",
    )
    spec.refuse("volumes", "nothing: volumes are not supported")
    for part in (section, metadata, spec):
        part.close()
    template = Template(
        container=msgspec.structs.replace(read.container, exec=asked.exec),
        limits=limits,
        scaling=asked.scaling,
        mode=asked.mode,
        labels=tuple(labels.items()),
        session_affinity=asked.session_affinity,
        budget=asked.budget,
    )
    return template, asked.health_check


def _containers(spec: Section) -> ContainerSpec:
    items = spec.sections("containers")
    if len(items) != 1:
        place, given = spec.at("containers"), f"{len(items)} containers"
        spec.findings.wrong(place, given, "one container; sidecars are not supported")
    read = [read_container(item) for item in items]
    # Nothing more is said of a container that is not there: the placeholder passes every check.
    nothing = ContainerSpec(Container(image="none"), Limits().milli_cpu, Limits().memory)
    return read[0] if read else nothing


def _traffic(spec: Section) -> tuple[Target, ...]:
    targets = []
    for item in spec.sections("traffic"):
        revision = item.string("revisionName")
        latest = item.boolean("latestRevision", not revision)
        if latest == bool(revision):
            item.findings.wrong(
                item.path, item.string("revisionName"), "revisionName or latestRevision: true"
            )
        targets.append(
            Target(
                revision=revision or None,
                percent=item.integer("percent", 0),
                tag=item.string("tag"),
            )
        )
        item.ignore("url")
        item.close()
    return tuple(targets) or (Target(),)
