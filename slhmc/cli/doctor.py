"""`slhmc doctor`: what this machine has, what it lacks and what to do about it."""

import ctypes
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slhmc import __version__
from slhmc.cli.failure import USAGE
from slhmc.cli.launch import mpiexec, run_ranks
from slhmc.errors import InputError

_PROBE = """
#include <omp.h>
typedef double vector __attribute__((vector_size(64), aligned(8)));
extern "C" int probe() { vector v = {1}; v = v + v; return (int)v[0] + (omp_get_max_threads() < 1); }
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    ok: bool
    words: str
    needed: bool = True

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'missing' if self.needed else 'optional':<10}{self.words}"


def examine() -> int:
    """Print every finding; 2 if something needed is missing."""
    found = []
    for finding in findings():
        print(finding, flush=True)
        found.append(finding)
    return USAGE if any(finding.needed and not finding.ok for finding in found) else 0


def findings() -> Iterator[Finding]:
    """All findings, as they are made."""
    yield Finding(True, f"slhmc {__version__}")
    supported = sys.version_info >= (3, 11)
    yield Finding(supported, f"Python {platform.python_version()}" + ("" if supported else "; 3.11 or later is needed"))
    packages = [_package(name) for name in ("numpy", "h5py", "pydantic", "rich", "typer")]
    yield from packages
    if all(package.ok for package in packages):  # without them the backend itself does not load
        yield _cache()
        yield _compiler()
    yield _torch()
    yield Finding(True, _threads())
    yield _mpi()
    yield _gpu()


def _package(name: str) -> Finding:
    try:
        return Finding(True, f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
        return Finding(False, f"{name} is not installed; pip install {name}")


def _torch() -> Finding:
    try:
        return Finding(True, f"torch {importlib.metadata.version('torch')}, for slhmc train", needed=False)
    except importlib.metadata.PackageNotFoundError:
        return Finding(False, "torch, for slhmc train, is not installed; pip install 'slhmc[learn]'", needed=False)


def _cache() -> Finding:
    from slhmc.backend.compiler import cache_directory

    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return Finding(False, f"kernel cache {directory} cannot be written ({error.strerror}); set SLHMC_CACHE_DIR")
    return Finding(True, f"kernel cache {directory}")


def _compiler() -> Finding:
    """Compile a vector and OpenMP program as kernels are compiled, and load it."""
    from slhmc.backend.compiler import cache_directory, host_compiler, host_flags

    try:
        command = [*host_compiler(), *host_flags()]
        version = subprocess.run([*host_compiler(), "--version"], capture_output=True, text=True, timeout=60).stdout
        # in the cache, because a file system may forbid to execute what is stored on it
        folder = cache_directory() if os.access(cache_directory(), os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
            fault = _compile_and_call(command, Path(scratch))
    except InputError as error:
        return Finding(False, str(error))
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    if fault:
        name = shlex.join(host_compiler())
        return Finding(False, f"{name} cannot build kernels: {fault}; set CXX to another compiler")
    name = version.splitlines()[0] if version else shlex.join(host_compiler())
    return Finding(True, f"compiler {name}, with OpenMP")


def _compile_and_call(command: list[str], folder: Path) -> str | None:
    """What went wrong, None if nothing."""
    source, library = folder / "probe.cc", folder / "probe.so"
    source.write_text(_PROBE)
    command = [*command, str(source), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode:
        return (result.stderr.strip().splitlines() or ["no message"])[0]
    return None if ctypes.CDLL(str(library)).probe() == 2 else "a test program gives a wrong result"


def _threads() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    setting = os.environ.get("OMP_NUM_THREADS")
    return f"{cores} cores, OMP_NUM_THREADS " + (f"= {setting}" if setting else "is not set")


def _mpi() -> Finding:
    """Start two ranks and let them count each other."""
    script = "from mpi4py import MPI; MPI.COMM_WORLD.size == 2 and print(MPI.Get_library_version().strip('\\0\\n'))"
    try:
        result = run_ranks(2, ["-c", script], timeout=60)
    except InputError as error:
        return Finding(False, f"MPI (one rank works without): {error}", needed=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _no_mpi(str(error))
    if result.returncode or not result.stdout.strip():
        return _no_mpi((result.stderr.strip().splitlines() or ["the ranks do not see each other"])[-1])
    return Finding(True, f"MPI {result.stdout.splitlines()[0].split(',')[0]}, {mpiexec()}")


def _no_mpi(why: str) -> Finding:
    return Finding(False, f"MPI: two ranks do not start ({why}); see that mpiexec and mpi4py fit", needed=False)


def _gpu() -> Finding:
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        names = {cupy.cuda.runtime.getDeviceProperties(index)["name"].decode() for index in range(count)}
        return Finding(True, f"GPU {', '.join(sorted(names))} x {count}, CuPy {cupy.__version__}")
    except ImportError:
        return Finding(False, "GPU: no CuPy; for a GPU: pip install 'slhmc[cuda12]' or 'slhmc[cuda13]'", needed=False)
    except Exception as error:  # noqa: BLE001 - CuPy's errors have no common base
        why = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(False, f"GPU: none can be used ({why}); for one, load its driver", needed=False)
