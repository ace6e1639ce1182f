"""How a command fails: one clear paragraph on stderr, and an exit code that says whose fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.deploy.api.schema import Problem
    from windlass.deploy.violation import Violation


class OperationFailed(click.ClickException):
    """The platform did not do it, or the input is wrong."""

    exit_code = 1


class WrongFlags(click.ClickException):
    """The command was called wrongly."""

    exit_code = 2

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("\n  ".join(str(violation) for violation in violations))


class PlatformUnreachable(click.ClickException):
    """No platform answers."""

    exit_code = 3


def problem_text(problem: Problem) -> str:
    """Return a problem as a person reads it."""
    lines = [problem.detail or problem.title]
    lines += [f"  {violation}" for violation in problem.errors]
    if problem.log_lines:
        lines.append("Its last lines:")
        lines += [f"  {line}" for line in problem.log_lines]
    return "\n".join(lines)
