"""The command line: the only place that reads arguments and writes to the terminal."""

from clad.cli.main import main

__all__ = ["main"]
