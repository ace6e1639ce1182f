"""A wrong field of a user's input: where it is, what it says, and what it may say."""

from __future__ import annotations

import msgspec


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One wrong field."""

    path: str  # spec.template.spec.containers[0].ports[0], or a flag: --concurrency
    value: str  # as the user wrote it
    allowed: str  # what may stand there

    def __str__(self) -> str:
        return f"{self.path}: {self.value!r} is not allowed; allowed: {self.allowed}"
