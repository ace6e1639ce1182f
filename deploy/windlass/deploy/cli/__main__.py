"""Runs the command line as `python -m windlass.deploy.cli`."""

from windlass.deploy.cli import main

main()
