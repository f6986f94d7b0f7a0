"""The engine's own exceptions; each message says what was found, where, what was expected and what to do."""


class SlhmcError(Exception):
    """Base of all errors that a user can cause or cure; `exit_code` is what the command line returns."""

    exit_code = 3


class InputError(SlhmcError):
    """A file, a directory, an option or the environment is not what the run needs."""

    exit_code = 2


class RunCardError(InputError):
    """One or more faults of a run card, each with file and line."""


class ComputationError(SlhmcError):
    """The computation itself failed: non-finite numbers, a runaway energy."""


class SolverNotConverged(ComputationError):
    """A solver used up its iterations; the message has the residual reached and what to change."""


class KernelError(SlhmcError):
    """A kernel could not be compiled or loaded."""
