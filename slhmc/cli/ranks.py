"""MPI ranks as the command line sees them: which one this is, whether all came, and how they end together."""

import os
import sys
import time
from typing import Any, NoReturn

from slhmc.errors import InputError

# set by mpiexec of Open MPI 4 and 5, MPICH and its kin, and by srun
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
_LAUNCHER_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE", "PMI_RANK")

# most errors strike all ranks at once; the others leave rank 0 this time to tell it for all
_SECONDS_FOR_RANK_ZERO = 1.5

# mpiexec drops what it has not yet read when a rank aborts
_SECONDS_TO_BE_HEARD = 0.3


def rank() -> int:
    """This process's rank as its launcher numbers it; 0 for a process on its own."""
    return next((int(os.environ[name]) for name in _RANK_VARIABLES if os.environ.get(name, "").isdecimal()), 0)


def launched() -> bool:
    """Whether this process is one of a world of MPI ranks."""
    if any(name in os.environ for name in _LAUNCHER_VARIABLES):
        return True
    return _number("SLURM_STEP_NUM_TASKS", 1) > 1


def silence_all_but_the_first() -> None:
    """Only rank 0 speaks on stdout."""
    if rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open for the life of the process


def world() -> Any:
    """The communicator of all ranks, None for a process on its own. Collective.

    Raises InputError if mpi4py is missing, or if the number of ranks is not what the batch system promised.
    """
    communicator = None
    if launched():
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise InputError(
                f"started as one of several MPI ranks, but mpi4py does not load ({error}); "
                "pip install 'slhmc[mpi]', or mpi4py alone where the site has an MPI"
            ) from error
        communicator = MPI.COMM_WORLD
    _check_size(1 if communicator is None else communicator.size)
    return communicator


def _check_size(size: int) -> None:
    """`srun` with the wrong --mpi starts N worlds of one rank, all writing the same files."""
    name = "SLHMC_RANKS" if "SLHMC_RANKS" in os.environ else "SLURM_NTASKS"
    if name == "SLURM_NTASKS" and "SLURM_JOB_ID" not in os.environ:
        return
    promised = _number_of_ranks(name, size)
    if promised != size:
        raise InputError(
            f"the number of MPI ranks is {size}, but {name} = {promised}: each process may be a job of its own; "
            f"start with `slhmc launch -n {promised}`, mpiexec, or srun with the --mpi that fits the MPI library, "
            f"or set SLHMC_RANKS={size} if {size} is meant"
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"the environment variable {name} is {text!r}, expected a number of ranks")
    return int(text)


def _number_of_ranks(name: str, default: int) -> int:
    if (number := _number(name, default)) < 1:
        raise InputError(f"the environment variable {name} is {number}, expected a number of ranks, 1 or more; set it right, or "
                         "unset it")
    return number


def wait_for_rank_zero() -> None:
    """Before a rank other than 0 reports an error: if rank 0 has the same one, its report ends all."""
    if rank() > 0:
        time.sleep(_SECONDS_FOR_RANK_ZERO)


def abort(code: int) -> NoReturn:
    """End every rank with `code`, whatever the others are doing."""
    sys.stderr.flush()
    mpi = _mpi_in_use()
    if mpi is not None and mpi.COMM_WORLD.size > 1:
        time.sleep(_SECONDS_TO_BE_HEARD)
        mpi.COMM_WORLD.Abort(code)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End this rank with `code`, which all ranks have. Collective."""
    sys.stdout.flush()
    mpi = _mpi_in_use()
    if mpi is not None and code:
        mpi.Finalize()  # `python -m mpi4py` takes a non-zero exit before it for a crash and aborts
    sys.exit(code)


def _mpi_in_use() -> Any:
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized() else None
