"""The command line: terminal, ranks and exit codes. Physics is imported only by the command that needs it."""

from slhmc.cli.app import main

__all__ = ["main"]
