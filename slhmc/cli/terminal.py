"""Whether a person watches stdout."""

import os
import sys

from slhmc.cli import ranks

# set by `slhmc launch`, because Open MPI gives rank 0 a terminal even where mpiexec writes to a file
VARIABLE = "SLHMC_TERMINAL"


def on_terminal() -> bool:
    """Whether stdout ends on a terminal, also through mpiexec; under an unknown mpiexec it is taken for a file."""
    return sys.stdout.isatty() and (not ranks.launched() or os.environ.get(VARIABLE) == "1")
