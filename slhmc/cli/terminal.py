"""Whether a person watches stdout, and tables for it."""

import os
import sys
from typing import Any

from slhmc.cli import ranks

# set by `slhmc launch`, because Open MPI gives rank 0 a terminal even where mpiexec writes to a file
VARIABLE = "SLHMC_TERMINAL"
_WIDE = 1000


def on_terminal() -> bool:
    """Whether stdout ends on a terminal, also through mpiexec; under an unknown mpiexec it is taken for a file."""
    return sys.stdout.isatty() and (not ranks.launched() or os.environ.get(VARIABLE) == "1")


def table_console() -> Any:
    """A rich console for tables of numbers: wider than any of them, as none may lose its digits where the terminal is narrow."""
    from rich.console import Console

    return Console(highlight=False, markup=False, force_terminal=on_terminal(), width=_WIDE)
