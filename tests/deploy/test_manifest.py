"""Manifests of Cloud Run and Knative users parse to what they say, or name all that is wrong."""

from __future__ import annotations

import contextlib
import copy
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from windlass.deploy.manifest import ManifestError, ServiceSpec, read, read_node
from windlass.model.budget import Action, Budget, Period
from windlass.model.service import GIB, MIB, Mode, Probe, Target

FULL = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
  namespace: '123'
  labels: {team: core, cloud.googleapis.com/location: europe-west1}
  annotations: {run.googleapis.com/ingress: all, example.org/owner: me}
  uid: 6ad3
  generation: 7
spec:
  template:
    metadata:
      name: hello-00007-abc
      labels: {stage: prod}
      annotations:
        autoscaling.knative.dev/minScale: '1'
        autoscaling.knative.dev/max-scale: '7'
        autoscaling.knative.dev/target: '40'
        autoscaling.knative.dev/target-utilization-percentage: '80'
        autoscaling.knative.dev/window: 20s
        autoscaling.knative.dev/panic-window-percentage: '20.0'
        autoscaling.knative.dev/panic-threshold-percentage: '150'
        autoscaling.knative.dev/scale-down-delay: 1m
        autoscaling.knative.dev/class: kpa.autoscaling.knative.dev
        run.googleapis.com/cpu-throttling: 'false'
        run.googleapis.com/health-check-disabled: 'true'
        run.googleapis.com/startup-cpu-boost: 'false'
        run.googleapis.com/sessionAffinity: 'true'
        windlass.dev/budget: 5/day
        windlass.dev/budget-action: cap
        windlass.dev/standby: '3'
    spec:
      containerConcurrency: 50
      timeoutSeconds: 120
      serviceAccountName: me@example.org
      containers:
      - name: main
        image: nginx:1.27
        command: [nginx]
        args: [-g, daemon off;]
        workingDir: /srv
        env:
        - {name: GREETING, value: hi}
        - name: EMPTY
        ports: [{name: h2c, containerPort: 9000}]
        resources: {limits: {cpu: 500m, memory: 1Gi}, requests: {cpu: '1'}}
        securityContext: {runAsUser: 1000, runAsNonRoot: true, readOnlyRootFilesystem: true}
        startupProbe: {httpGet: {path: /up, port: 9001, httpHeaders: [{name: A, value: b}]}}
        livenessProbe: {grpc: {service: health}, periodSeconds: 5, timeoutSeconds: 2}
        readinessProbe: {successThreshold: 1, tcpSocket: {port: 0}, failureThreshold: 5}
  traffic:
  - {latestRevision: true, percent: 90, url: 'https://x'}
  - {revisionName: hello-00001, percent: 10, tag: old}
status: {url: 'https://x'}
"""

SMALL: dict[str, Any] = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {"template": {"spec": {"containers": [{"image": "nginx"}]}}},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the small manifest with one field set; a path of keys and indexes, by dots."""
    node = copy.deepcopy(SMALL)
    place: Any = node
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = value
    return node


def container(field: str, value: object) -> dict[str, Any]:
    return changed(f"spec.template.spec.containers.0.{field}", value)


def annotated(name: str, value: object) -> dict[str, Any]:
    node = copy.deepcopy(SMALL)
    node["spec"]["template"]["metadata"] = {"annotations": {name: value}}
    return node


def faults(node: object) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_node(node)
    return [str(violation) for violation in caught.value.violations]


def test_a_full_manifest_says_what_it_says() -> None:
    spec = read(FULL)
    template = spec.template
    assert (spec.name, dict(spec.labels)["team"], spec.health_check) == ("hello", "core", False)
    assert spec.traffic == (
        Target(percent=90),
        Target(revision="hello-00001", percent=10, tag="old"),
    )
    runs = template.container
    assert (runs.image, runs.command, runs.args) == (
        "nginx:1.27",
        ("nginx",),
        ("-g", "daemon off;"),
    )
    assert runs.env == (("GREETING", "hi"), ("EMPTY", ""))
    assert (runs.port, runs.protocol, runs.user, runs.working_dir) == (9000, "h2c", 1000, "/srv")
    assert runs.startup_probe == Probe(kind="http", path="/up", port=9001, headers=(("A", "b"),))
    assert runs.liveness_probe == Probe(kind="grpc", grpc_service="health", period=5, timeout=2)
    assert runs.readiness_probe == Probe(failure_threshold=5)
    limits = template.limits
    assert (limits.concurrency, limits.timeout) == (50, 120)
    assert (limits.milli_cpu, limits.memory) == (500, GIB)
    scaling = template.scaling
    assert (scaling.min_instances, scaling.max_instances, scaling.target) == (1, 7, 40)
    assert (scaling.target_utilization, scaling.stable_window) == (0.8, 20)
    assert (scaling.panic_window, scaling.panic_threshold) == (4, 1.5)
    assert scaling.scale_down_delay == 60
    assert template.labels == (("stage", "prod"),)
    assert template.session_affinity
    assert template.budget == Budget(amount=Decimal(5), period=Period.DAY, action=Action.CAP)
    assert (limits.cpu_throttling, limits.cpu_boost, scaling.standby) == (False, False, 3)
    assert runs.read_only_root


def test_fields_without_effect_are_warned_about() -> None:
    assert read(FULL).warnings == (
        "metadata.annotations.run.googleapis.com/ingress has no effect here",
        "metadata.namespace has no effect here",
        "spec.template.metadata.name has no effect here",
        "spec.template.spec.containers[0].resources.requests has no effect here",
        "spec.template.spec.containers[0].securityContext.runAsNonRoot has no effect here",
        "spec.template.spec.serviceAccountName has no effect here",
    )


def test_a_small_manifest_has_the_defaults() -> None:
    spec = read_node(SMALL)
    assert spec == ServiceSpec(name="hello", template=spec.template)
    assert (spec.template.limits.concurrency, spec.template.limits.memory) == (80, 512 * MIB)
    assert spec.template.scaling.panic_window == 6
    assert spec.template.mode is Mode.CLOUDRUN


def test_lambda_mode_is_an_annotation_and_means_concurrency_one() -> None:
    template = read_node(annotated("windlass.dev/mode", "lambda")).template
    assert (template.mode, template.limits.concurrency) == (Mode.LAMBDA, 1)


def test_a_command_line_takes_the_place_of_the_image() -> None:
    node = annotated("windlass.dev/exec", "python3 -m 'my app'")
    del node["spec"]["template"]["spec"]["containers"][0]["image"]
    assert read_node(node).template.container.exec == ("python3", "-m", "my app")


def test_null_is_the_same_as_absent() -> None:
    assert read_node(container("resources", None)) == read_node(SMALL)
    assert read_node(changed("spec.traffic", None)) == read_node(SMALL)


SPEC, BOX = "spec.template.spec", "spec.template.spec.containers[0]"
NOTES = "spec.template.metadata.annotations"


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        (changed("kind", "Pod"), "kind: 'Pod' is not allowed; allowed: Service"),
        (
            changed("apiVersion", "v1"),
            "apiVersion: 'v1' is not allowed; allowed: serving.knative.dev/v1",
        ),
        (
            changed("spec.template.spec.containerConcurrency", 0),
            f"{SPEC}.containerConcurrency: '0' is not allowed; allowed: 1 to 1000 "
            "(0, which is unlimited in Knative, is not to be had here)",
        ),
        (
            changed("spec.template.spec.timeoutSeconds", 4000),
            f"{SPEC}.timeoutSeconds: '4000s' is not allowed; allowed: 1s to 3600s",
        ),
        (
            container("resources", {"limits": {"memory": "12Q"}}),
            f"{BOX}.resources.limits.memory: '12Q' is not allowed; "
            "allowed: bytes such as 512Mi, 1Gi, 500M, 1G or 536870912",
        ),
        (
            container("ports", [{"containerPort": "http"}]),
            f"{BOX}.ports[0].containerPort: 'http' is not allowed; allowed: a whole number",
        ),
        (
            container("ports", [80]),
            f"{BOX}.ports[0]: '80' is not allowed; allowed: a mapping of fields",
        ),
        (
            container("ports", [{"name": "web", "containerPort": 80}]),
            f"{BOX}.ports[0].name: 'web' is not allowed; allowed: http1 or h2c",
        ),
        (
            container("ports", [{"containerPort": 80}, {"containerPort": 81}]),
            f"{BOX}.ports: '2 ports' is not allowed; allowed: one port",
        ),
        (
            container("port", 80),
            f"{BOX}.port: '80' is not allowed; allowed: no such field; known here: args, command, "
            "env, envFrom, image, imagePullPolicy, livenessProbe, name, ports, readinessProbe, "
            "resources, securityContext, startupProbe, terminationMessagePath, "
            "terminationMessagePolicy, volumeMounts, workingDir",
        ),
        (
            container("env", [{"name": "A", "value": 1}]),
            f"{BOX}.env[0].value: '1' is not allowed; allowed: a string (put it in quotes)",
        ),
        (
            container("env", [{"name": "A"}, {"name": "PORT", "value": "1"}]),
            f"{BOX}.env[1].name: 'PORT' is not allowed; "
            "allowed: other names: the platform sets this one",
        ),
        (
            container("startupProbe", {"exec": {"command": ["true"]}}),
            f"{BOX}.startupProbe.exec: 'a mapping' is not allowed; "
            "allowed: nothing: use httpGet, tcpSocket or grpc",
        ),
        (
            container("startupProbe", {"httpGet": {"httpHeaders": [{"name": "A:b", "value": ""}]}}),
            f"{BOX}.startupProbe.httpGet.httpHeaders[0].name: 'A:b' is not allowed; "
            "allowed: a header's name",
        ),
        (
            container("volumeMounts", [{"name": "v"}]),
            f"{BOX}.volumeMounts: 'a list' is not allowed; "
            "allowed: nothing: volumes are not supported",
        ),
        (
            changed("spec.template.spec.containers", []),
            f"{SPEC}.containers: '0 containers' is not allowed; "
            "allowed: one container; sidecars are not supported",
        ),
        (
            annotated("autoscaling.knative.dev/minScale", "many"),
            f"{NOTES}.autoscaling.knative.dev/minScale: 'many' is not allowed; "
            "allowed: a whole number in quotes",
        ),
        (
            annotated("autoscaling.knative.dev/minScale", 1),
            f"{NOTES}.autoscaling.knative.dev/minScale: '1' is not allowed; "
            "allowed: a string (put it in quotes)",
        ),
        (
            annotated("autoscaling.knative.dev/metric", "rps"),
            f"{NOTES}.autoscaling.knative.dev/metric: 'rps' is not allowed; allowed: concurrency",
        ),
        (
            annotated("windlass.dev/mode", "azure"),
            f"{NOTES}.windlass.dev/mode: 'azure' is not allowed; allowed: cloudrun or lambda",
        ),
        (
            annotated("windlass.dev/exec", "echo 'open"),
            f'{NOTES}.windlass.dev/exec: "echo \'open" is not allowed; '
            "allowed: a command line; check its quotes",
        ),
        (
            changed("metadata.annotations", {"windlass.dev/mode": "lambda"}),
            "metadata.annotations.windlass.dev/mode: 'lambda' is not allowed; "
            "allowed: this annotation under spec.template.metadata",
        ),
        (
            changed("spec.traffic", [{"percent": 60}]),
            "spec.traffic: '60 percent' is not allowed; allowed: percents that add up to 100",
        ),
        (
            changed("spec.traffic", [{"latestRevision": False, "percent": 100}]),
            "spec.traffic[0]: '' is not allowed; allowed: revisionName or latestRevision: true",
        ),
    ],
)
def test_a_wrong_field_is_told_by_path_value_and_what_is_allowed(node: object, fault: str) -> None:
    assert faults(node) == [fault]


def test_an_unknown_scaling_annotation_lists_the_known_ones() -> None:
    [fault] = faults(annotated("autoscaling.knative.dev/min-scales", "1"))
    assert fault.startswith(f"{NOTES}.autoscaling.knative.dev/min-scales: '1' is not allowed; ")
    assert "autoscaling.knative.dev/min-scale, " in fault


def test_all_faults_are_told_at_once() -> None:
    node = container("ports", [{"containerPort": 0}])
    node["metadata"] = {"name": "Hello"}
    node["spec"]["template"]["spec"]["containerConcurrency"] = 1001
    node["spec"]["extra"] = 1
    assert [fault.partition(":")[0] for fault in faults(node)] == [
        "spec.extra",
        "metadata.name",
        f"{BOX}.ports[0].containerPort",
        f"{SPEC}.containerConcurrency",
    ]


def test_the_message_has_the_count_and_each_fault() -> None:
    with pytest.raises(ManifestError) as caught:
        read_node(changed("kind", "Pod"))
    assert str(caught.value) == (
        "1 field is wrong; nothing was changed\n  kind: 'Pod' is not allowed; allowed: Service"
    )


@pytest.mark.parametrize("node", [None, 3, "text", [], {}, {1: 2}, {None: {}}])
def test_what_is_no_mapping_is_a_manifest_error(node: object) -> None:
    assert faults(node)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: b: c", "line 1, column 5: not YAML: mapping values are not allowed here"),
        (
            "a: 1\n\tb: 2",
            "line 2, column 1: not YAML: found character '\\t' that cannot start any token",
        ),
        ("a: 1\nb: [1", "line 2, column 6: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\na: 2", "line 2, column 1: not YAML: the key 'a' is given twice"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not YAML: but found another document"),
        (
            "a: !!int x",
            "line 1, column 4: not YAML: a value that cannot be read as tag:yaml.org,2002:int",
        ),
        (
            "a: !!timestamp x",
            "line 1, column 4: not YAML: "
            "a value that cannot be read as tag:yaml.org,2002:timestamp",
        ),
        (
            "a: !own x",
            "line 1, column 4: not YAML: could not determine a constructor for the tag '!own'",
        ),
        (
            'a: "\\ud800"',
            "line 1, column 4: not YAML: half of a surrogate pair, which is no character",
        ),
        ("a: \x01", "line 1, column 4: not YAML: special characters are not allowed"),
        ("[" * 600, "not a manifest: nested too deeply"),
        ("a" * 300_000, "300000 characters are too many; allowed: 65536"),
    ],
)
def test_a_syntax_error_has_its_line_and_column(text: str, where: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert str(caught.value) == where


def test_aliases_that_multiply_are_no_harm() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 20)]
    with pytest.raises(ManifestError):
        read("\n".join(lines))


def test_a_number_of_thousands_of_digits_is_no_harm() -> None:
    text = yaml.safe_dump(SMALL) + "status: 1\n"
    text = text.replace("image: nginx", f"image: 0x{'f' * 5000}")
    with pytest.raises(ManifestError, match="more than 64 bits"):
        read(text)


names = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Generate a valid manifest."""
    low = draw(st.integers(0, 10))
    node = container("ports", [{"containerPort": draw(st.integers(1, 65535))}])
    node["metadata"]["name"] = draw(names)
    spec = node["spec"]["template"]["spec"]
    spec["containerConcurrency"] = draw(st.integers(1, 1000))
    spec["timeoutSeconds"] = draw(st.integers(1, 3600))
    box = spec["containers"][0]
    box["image"] = draw(words)
    box["args"] = draw(st.lists(words, max_size=3))
    variables = draw(st.dictionaries(names, words, max_size=4))
    box["env"] = [{"name": name, "value": value} for name, value in variables.items()]
    box["resources"] = {"limits": {"cpu": f"{draw(st.integers(10, 8000))}m"}}
    box["resources"]["limits"]["memory"] = f"{draw(st.integers(16, 4096))}Mi"
    node["spec"]["template"]["metadata"] = {
        "annotations": {
            "autoscaling.knative.dev/min-scale": str(low),
            "autoscaling.knative.dev/max-scale": str(low + draw(st.integers(1, 10))),
        }
    }
    return node


@given(manifests())
def test_a_valid_manifest_parses_to_what_it_says(node: dict[str, Any]) -> None:
    spec = read(yaml.safe_dump(node))
    said = node["spec"]["template"]["spec"]
    box, runs, limits = said["containers"][0], spec.template.container, spec.template.limits
    assert spec.name == node["metadata"]["name"]
    assert (runs.image, list(runs.args)) == (box["image"], box["args"])
    assert runs.port == box["ports"][0]["containerPort"]
    assert [{"name": name, "value": value} for name, value in runs.env] == box["env"]
    assert limits.concurrency == said["containerConcurrency"]
    assert limits.timeout == said["timeoutSeconds"]
    assert f"{limits.milli_cpu}m" == box["resources"]["limits"]["cpu"]
    assert f"{limits.memory // MIB}Mi" == box["resources"]["limits"]["memory"]
    scaling = node["spec"]["template"]["metadata"]["annotations"]
    assert [str(spec.template.scaling.min_instances), str(spec.template.scaling.max_instances)] == [
        *scaling.values()
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(node: object) -> list[tuple[Any, Any]]:
    """Return every (container, key) of nested lists and mappings."""
    items: list[tuple[Any, Any]] = []
    pairs = (
        enumerate(node)
        if isinstance(node, list)
        else node.items()
        if isinstance(node, dict)
        else ()
    )
    for key, value in pairs:
        items += [(node, key), *places(value)]
    return items


@given(st.sampled_from([SMALL, yaml.safe_load(FULL)]), st.data())
def test_a_mutated_manifest_is_read_or_a_manifest_error(
    base: dict[str, Any], data: st.DataObject
) -> None:
    node = copy.deepcopy(base)
    for _ in range(data.draw(st.integers(1, 3))):
        where, key = data.draw(st.sampled_from(places(node)))
        where[key] = data.draw(anything)
    with contextlib.suppress(ManifestError):
        assert read_node(node).name


@given(st.text(max_size=200), st.integers(0, len(FULL)))
def test_a_mutilated_text_is_read_or_a_manifest_error(text: str, position: int) -> None:
    with contextlib.suppress(ManifestError):
        assert read(FULL[:position] + text + FULL[position + len(text) :]).name
