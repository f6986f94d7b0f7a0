"""From an exception to a message on stderr and an exit code."""

import errno
import os
import sys
import traceback
from typing import NoReturn

from slhmc.cli import ranks
from slhmc.errors import SlhmcError

USAGE = 2
COMPUTATION = 3

# of an error without a file: those of the engine's own files name theirs
_OUTPUT_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)


def fail(error: Exception) -> NoReturn:
    """Report `error` and end all ranks with its exit code."""
    ranks.wait_for_rank_zero()
    _give_up_broken_stdout()
    message, code, expected = _explain(error)
    if not expected or os.environ.get("SLHMC_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    prefix = f"slhmc: rank {ranks.rank()}: " if ranks.rank() else "slhmc: "
    for line in message.splitlines():
        print(prefix + line, file=sys.stderr)
    ranks.abort(code)


def _give_up_broken_stdout() -> None:
    """Python would try again to write what stdout did not take, and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception) -> tuple[str, int, bool]:
    """Message, exit code, and whether it needs no traceback."""
    if isinstance(error, SlhmcError):
        return str(error), error.exit_code, True
    if hasattr(error, "format_message"):  # typer's errors of usage
        context = getattr(error, "ctx", None)
        hint = f"; see {context.command_path} --help" if context else ""
        return error.format_message().rstrip(".") + hint, USAGE, True
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", USAGE, True
    if isinstance(error, OSError) and error.errno in _OUTPUT_LOST:
        return f"standard output: {error.strerror.lower()}; what was computed is in the output directory", USAGE, True
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return "out of memory; use a smaller lattice or more ranks", COMPUTATION, True
    return f"internal error: {type(error).__name__}: {error}", COMPUTATION, False
