"""All commands, by name; the file of a command is imported only when it is called."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "up": "Start the platform.",
    "reload": "Replace the router's workers, losing no request.",
    "deploy": "Deploy a container image, or a command line, as a service.",
    "apply": "Make a service what a Knative or Cloud Run manifest says.",
    "services": "List, describe, route and delete services.",
    "top": "Watch what services do and cost, live.",
    "logs": "Show what a service's instances wrote.",
    "instances": "Show a service's instances.",
    "events": "Show what happened to a service.",
    "explain": "Show why a service has as many instances as it has.",
    "bill": "Show what services cost, and what they would in the other mode.",
    "books": "List, show and check price books.",
    "compare": "Put the same load on both modes and compare latency and price.",
    "grafana": "Write a Grafana dashboard and Prometheus alert rules.",
    "version": "Show the version.",
}


class LazyGroup(click.Group):
    """Knows its commands by name, so that help and completion need not import them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"windlass.deploy.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def windlass() -> None:
    """Serverless containers on your own machine, with the bill of both worlds."""
