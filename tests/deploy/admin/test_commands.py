"""Commands as users type them: what they print, their errors and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import pytest
from click.testing import CliRunner

from windlass.deploy.cli.commands import COMMANDS, windlass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from click.testing import Result
    from tests.deploy.memory import MemoryPlatform

    Run = Callable[..., Awaitable[Result]]

MANIFEST = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: x}
spec: {template: {spec: {containers: [{image: nginx}]}}}
"""


async def done(run: Run, *words: str, stdin: str | None = None) -> str:
    result = await run(*words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


async def fails(run: Run, code: int, *words: str, stdin: str | None = None) -> str:
    result = await run(*words, stdin=stdin)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr


async def test_a_deploy_prints_its_url_alone_on_stdout(run: Run) -> None:
    result = await run("deploy", "hello", "--image", "nginx")
    assert result.exit_code == 0
    assert result.stdout == "http://hello.localhost:8080\n"
    assert result.stderr == (
        "Starting an instance of nginx ...\n"
        "hello-00001 is deployed and serves 100 percent of hello:\n"
    )


async def test_a_deploy_sends_what_its_flags_say(run: Run, platform: MemoryPlatform) -> None:
    await done(
        run, "deploy", "hello", "--exec", "python3 app.py", "--concurrency", "7",
        "--set-env-vars", "^;^A=1,2;B=3", "--labels", "team=core", "--no-deploy-health-check",
    )  # fmt: skip
    template = platform.revisions["hello-00001"].template
    assert template.container.exec == ("python3", "app.py")
    assert template.container.env == (("A", "1,2"), ("B", "3"))
    assert template.limits.concurrency == 7
    assert platform.known["hello"].labels == (("team", "core"),)


async def test_a_second_deploy_keeps_what_is_not_given(run: Run, platform: MemoryPlatform) -> None:
    await done(run, "deploy", "hello", "--image", "nginx", "--concurrency", "7")
    await done(run, "deploy", "hello", "--memory", "1Gi")
    template = platform.revisions["hello-00002"].template
    assert (template.container.image, template.limits.concurrency) == ("nginx", 7)


async def test_arguments_may_begin_with_a_hyphen(run: Run, platform: MemoryPlatform) -> None:
    await done(run, "deploy", "hello", "--image", "x", "--command", "sh", "--args", "-c,true")
    assert platform.revisions["hello-00001"].template.container.args == ("-c", "true")


async def test_wrong_flags_are_told_at_once_and_nothing_is_sent(
    run: Run, platform: MemoryPlatform
) -> None:
    complaint = await fails(
        run, 2, "deploy", "Hello", "--image", "x", "--memory", "12Q", "--concurrency", "0"
    )
    assert complaint == (
        "Error: --memory: '12Q' is not allowed; "
        "allowed: bytes such as 512Mi, 1Gi, 500M, 1G or 536870912\n"
        "  --concurrency: '0' is not allowed; "
        "allowed: 1 to 1000 (0, which is unlimited in Knative, is not to be had here)\n"
        "  NAME: 'Hello' is not allowed; allowed: at most 49 lower-case letters, digits and "
        "hyphens, the first a letter, the last not a hyphen\n"
    )
    assert not platform.known


async def test_a_container_that_does_not_come_up_is_shown_with_its_last_words(run: Run) -> None:
    complaint = await fails(run, 1, "deploy", "hello", "--image", "crashing")
    assert complaint == (
        "Starting an instance of crashing ...\n"
        "Error: It exited with 3.\nIts last lines:\n  starting\n  cannot go on\n"
    )


async def test_without_traffic_the_old_revision_serves_until_traffic_is_sent(run: Run) -> None:
    assert "--no-traffic" in await fails(
        run, 1, "deploy", "hello", "--image", "nginx", "--no-traffic"
    )
    await done(run, "deploy", "hello", "--image", "nginx")
    result = await run("deploy", "hello", "--no-traffic")
    assert "hello-00002 is deployed and serves 0 percent of hello" in result.stderr
    split = ("services", "update-traffic", "hello", "--to-revisions", "LATEST=10,hello-00001=90")
    assert await done(run, *split) == "10 percent to hello-00002, 90 percent to hello-00001\n"
    latest = ("services", "update-traffic", "hello", "--to-latest")
    assert await done(run, *latest) == "100 percent to hello-00002\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "give one of --to-latest and --to-revisions"),
        (("--to-latest", "--to-revisions", "a=1"), "give one of --to-latest and --to-revisions"),
        (("--to-revisions", "LATEST=50"), "--to-revisions: '50 percent' is not allowed; "),
        (("--to-revisions", "LATEST"), "--to-revisions: 'LATEST' is not allowed; "),
    ],
)
async def test_wrong_traffic_is_a_wrong_call(
    run: Run, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in await fails(run, 2, "services", "update-traffic", "hello", *words)


async def test_a_manifest_is_applied_from_a_file_or_stdin(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(MANIFEST)
    result = await run("apply", "-f", str(file))
    assert result.stdout == "http://hello.localhost:8080\n"
    assert "warning: metadata.namespace has no effect here\n" in result.stderr
    shown = json.loads(await done(run, "apply", "-f", "-", "--json", stdin=MANIFEST))
    assert shown["latest_ready"] == "hello-00002"


async def test_a_wrong_manifest_names_file_field_and_value(
    run: Run, tmp_path: Path, platform: MemoryPlatform
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(MANIFEST.replace("image: nginx", "image: nginx, ports: [{containerPort: 0}]"))
    assert await fails(run, 1, "apply", "-f", str(file)) == (
        f"Error: {file}: 1 field is wrong; nothing was changed\n"
        "  spec.template.spec.containers[0].ports[0].containerPort: '0' is not allowed; "
        "allowed: 1 to 65535\n"
    )
    assert not platform.known


async def test_malformed_yaml_names_its_line(run: Run) -> None:
    complaint = await fails(run, 1, "apply", "-f", "-", stdin="kind: [Service\n")
    assert "line 2, column 1: not YAML" in complaint


async def test_services_are_listed_described_and_deleted(run: Run) -> None:
    assert "No service yet" in await done(run, "services", "list")
    await done(run, "deploy", "hello", "--image", "nginx", "--labels", "team=core")
    assert [line.split() for line in (await done(run, "services", "list")).splitlines()] == [
        ["NAME", "READY", "REVISION", "INSTANCES", "URL"],
        ["hello", "yes", "hello-00001", "1", "ready", "http://hello.localhost:8080"],
    ]
    shown = await done(run, "services", "describe", "hello")
    assert "Labels:  team=core\n" in shown
    assert "Traffic: 100 percent to hello-00001\n" in shown
    assert "concurrency 80, cpu 1, memory 512Mi" in shown
    assert json.loads(await done(run, "services", "describe", "hello", "--json"))["ready"] is True
    await done(run, "services", "delete", "hello")
    assert await fails(run, 1, "services", "describe", "hello") == (
        "Error: There is no service 'hello'.\n"
    )


async def test_the_image_that_a_revision_keeps_is_described(
    run: Run, platform: MemoryPlatform
) -> None:
    await done(run, "deploy", "hello", "--image", "nginx:1")
    digest = "sha256:" + 8 * "0123456789abcdef"
    revision = platform.revisions["hello-00001"]
    platform.revisions[revision.name] = msgspec.structs.replace(revision, image_digest=digest)
    shown = await done(run, "services", "describe", "hello")
    assert "nginx:1 (sha256:0123456789ab) " in shown
    described = json.loads(await done(run, "services", "describe", "hello", "--json"))
    assert described["revisions"][0]["image_digest"] == digest


async def test_views_are_tables_or_json(run: Run) -> None:
    await done(run, "deploy", "hello", "--image", "nginx")
    assert "0.5s" in await done(run, "instances", "hello")
    assert json.loads(await done(run, "instances", "hello", "--json"))[0]["in_flight"] == 3
    assert "hello-00001 serves" in await done(run, "events", "hello")
    assert json.loads(await done(run, "events", "hello", "--json"))[0]["kind"] == "Deployed"
    assert "90 requests wait" in await done(run, "explain", "hello")
    assert json.loads(await done(run, "explain", "hello", "--json"))[0]["desired"] == 2


async def test_logs_are_printed_with_time_and_instance(run: Run) -> None:
    await done(run, "deploy", "hello", "--image", "nginx")
    assert await done(run, "logs", "hello", "--tail", "2") == (
        "1970-01-01 00:00:03.000 hello-00001-abcde line 3\n"
        "1970-01-01 00:00:04.000 hello-00001-abcde line 4\n"
    )
    [line] = (await done(run, "logs", "hello", "--tail", "1", "--json")).splitlines()
    assert json.loads(line)["text"] == "line 4"


@pytest.mark.parametrize(
    "words",
    [("services", "list"), ("logs", "hello"), ("bill",), ("deploy", "hello", "--image", "nginx")],
)
def test_a_platform_that_is_not_there_is_exit_code_three(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(windlass, [*words, "--server", "http://127.0.0.1:1"])
    assert result.exit_code == 3
    assert result.stderr == (
        "Error: No Windlass platform answers at http://127.0.0.1:1 (Connection refused). "
        "Start one with `windlass up`, or name another with --server or WINDLASS_SERVER.\n"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("up", "--http", "8080"), "'8080' is not HOST:PORT, such as 127.0.0.1:8080"),
        (("up", "--admin", "a:70000"), "'a:70000' is not HOST:PORT"),
        (("up", "--workers", "0"), "--workers"),
        (("up", "--runtime", "vm"), "'vm' is not one of"),
        (("nonsense",), "No such command 'nonsense'"),
        (("compare",), "--image: '' is not allowed"),
        (("compare", "x", "--rate", "-1", "--path", "a"), "--path: 'a' is not allowed"),
    ],
)
def test_a_wrong_call_is_exit_code_two(words: tuple[str, ...], complaint: str) -> None:
    result = CliRunner().invoke(windlass, words)
    assert (result.exit_code, complaint in result.stderr) == (2, True), result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(windlass, [command, "--help"])
    assert (result.exit_code, "Usage: windlass" in result.output) == (0, True)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from windlass.deploy.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'aiohttp', 'rich', 'msgspec'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, "--help"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.endswith("[]\n")


def test_the_version_is_shown() -> None:
    assert CliRunner().invoke(windlass, ["version"]).output.startswith("windlass 0.")


def documented_words(command: click.Command) -> set[str]:
    """Return a command's options, and its subcommands with theirs."""
    words = {option.opts[0] for option in command.params if isinstance(option, click.Option)}
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            words |= {name} | documented_words(inner)
    return words


def test_the_documentation_names_every_command_and_flag() -> None:
    text = Path(__file__).parents[3].joinpath("docs", "cli.md").read_text()
    words = documented_words(windlass)
    assert {"deploy", "--concurrency", "update-traffic", "--to-latest"} <= words
    assert {word for word in words if not re.search(rf"(?<![\w-]){word}(?![\w-])", text)} == set()


async def test_reload_names_the_workers_that_serve_now(run: Run) -> None:
    said = await done(run, "reload")
    assert said == "worker-1.a, worker-2.b serve now; the old ones finish their requests.\n"
    assert json.loads(await done(run, "reload", "--json")) == {
        "workers": ["worker-1.a", "worker-2.b"]
    }
