"""What a measurement found, as JSON with the command that found it and the machine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from windlass.bench import machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def keep(measurement: str, figures: Mapping[str, object], file: Path | None) -> None:
    """Print the figures of a module of windlass.bench, and write them to a file if one is named."""
    command = " ".join([f"python -m windlass.bench.{measurement}", *sys.argv[1:]])
    text = json.dumps({"command": command, "machine": machine.describe(), **figures}, indent=2)
    if file:
        file.write_text(f"{text}\n")
    print(text)
