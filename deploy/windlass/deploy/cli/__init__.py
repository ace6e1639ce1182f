"""The command line: `windlass`. Each file here holds one command or group of commands."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from windlass.deploy.cli.commands import windlass

    windlass(prog_name="windlass")
