"""What is wrong with a manifest, all of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.deploy.violation import Violation


class ManifestError(Exception):
    """A manifest that cannot be used: not YAML (`line` and `column` say where), or wrong fields."""

    def __init__(
        self,
        fact: str,
        violations: Sequence[Violation] = (),
        *,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        where = "" if line is None else f"line {line}, column {column}: "
        super().__init__("\n".join([where + fact, *(f"  {wrong}" for wrong in violations)]))
        self.fact = where + fact
        self.violations = tuple(violations)
        self.line, self.column = line, column
