"""Compile kernel files at first use into a cache that any number of processes can share.

The cache also remembers, for each CPU, what its kernels were compiled with, so that a node without a compiler finds them.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from slhmc.backend import signatures
from slhmc.errors import InputError, KernelError

HOST_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno", "-fno-trapping-math",
              "-fno-signed-zeros", "-ffp-contract=fast", "-Wno-psabi", "-Wno-ignored-attributes")
# Where a value is one real: with loops and straight lines both vectorized, g++ 12 makes wrong sums of matrices of some kernels
# (plaquette_staples of SU(3) on threads as CUDA would launch them; right without either, with -O2, and clean under UBSan).
ONE_LANE_FLAGS = ("-fno-tree-slp-vectorize",)
# lines of /proc/cpuinfo (x86; ARM, POWER, RISC-V) that decide what -march=native means
CPU_FACTS = ("vendor_id", "cpu family", "model", "model name", "flags",
             "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features", "cpu", "isa")


@cache
def kernel_sources() -> dict[str, str]:
    """Texts of all files in `kernels/` by name: those beside `slhmc/` in a checkout, else the installed package's."""
    folder = Path(__file__).parents[2] / "kernels"
    if not (folder / "target.h").is_file():
        with suppress(ModuleNotFoundError):
            folder = resources.files("slhmc.kernels")
    if not folder.is_dir():
        raise InputError(f"no kernel sources: {folder} is not a directory; install slhmc again or use a whole checkout")
    return {f.name: f.read_text() for f in sorted(folder.iterdir(), key=lambda f: f.name)
            if f.name.endswith((".h", ".cc"))}


def cache_directory() -> Path:
    """SLHMC_CACHE_DIR, else $XDG_CACHE_HOME/slhmc, else ~/.cache/slhmc."""
    if path := os.environ.get("SLHMC_CACHE_DIR"):
        return Path(path)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slhmc"


@cache
def host_compiler() -> tuple[str, ...]:
    """The C++ compiler as a command: CXX, else g++, else clang++. Raises InputError if there is none."""
    if command := os.environ.get("CXX"):
        if shutil.which(shlex.split(command)[0]) is None:
            raise InputError(f"CXX = {command!r}: no such program; set CXX to a C++17 compiler or unset it")
        return tuple(shlex.split(command))
    for name in ("g++", "clang++"):
        if shutil.which(name):
            return (name,)
    raise InputError("no C++ compiler found (looked for CXX, g++, clang++): the kernels are compiled at first use; "
                     "install g++ (Debian: apt-get install g++) or run `slhmc build` where there is a compiler and the "
                     "same CPU, into the same SLHMC_CACHE_DIR")


@cache
def host_flags() -> tuple[str, ...]:
    """Compile flags; -march=native where the compiler accepts it; SLHMC_CXXFLAGS last."""
    native = ()
    for candidate in ("-march=native", "-mcpu=native"):
        probe = subprocess.run([*host_compiler(), candidate, "-E", "-x", "c++", os.devnull], capture_output=True)
        if probe.returncode == 0:
            native = (candidate,)
            break
    return (*HOST_FLAGS, *native, *shlex.split(os.environ.get("SLHMC_CXXFLAGS", "")))


@cache
def host_identity() -> str:
    """What the machine code depends on beside the source: compiler version and the macros of the target CPU."""
    compiler = host_compiler()
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
    arguments = [flag for flag in host_flags() if flag != "-shared"]
    arguments += ["-E", "-dM", "-x", "c++", os.devnull]
    macros = subprocess.run([*compiler, *arguments], capture_output=True, text=True)
    return version + macros.stdout


@dataclass(frozen=True)
class Toolchain:
    """What host kernels are compiled with: `host_compiler`, `host_flags` and `host_identity` of a machine."""

    compiler: tuple[str, ...]
    flags: tuple[str, ...]
    identity: str

    @property
    def vector_bytes(self) -> int:
        """Width of the widest vector registers the compiler uses for this CPU: 64, 32 or 16 bytes."""
        return 64 if "__AVX512F__" in self.identity else 32 if "__AVX2__" in self.identity else 16


@cache
def toolchain() -> Toolchain:
    """The toolchain of this machine, which the cache then remembers; without a compiler what the cache remembers.

    Raises InputError if neither is there, or if CXX names a compiler that is not.
    """
    try:
        compiler = host_compiler()
    except InputError:
        remembered = None if os.environ.get("CXX") else _recall()
        if remembered is None:
            raise
        return remembered
    found = Toolchain(compiler, host_flags(), host_identity())
    if found != _recall():
        _remember(found)
    return found


def toolchain_file() -> Path:
    """Where the cache remembers the toolchain for this CPU and these settings."""
    lines = [line.partition(":") for line in reversed(Path("/proc/cpuinfo").read_text().splitlines())]
    facts = {name.strip(): value.strip() for name, _, value in lines if name.strip() in CPU_FACTS}
    settings = [sorted(facts.items()), HOST_FLAGS, os.environ.get("SLHMC_CXXFLAGS", "")]
    return cache_directory() / f"toolchain-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]}.json"


def _recall() -> Toolchain | None:
    """The toolchain that the cache remembers, None without a readable file."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(toolchain_file().read_text())
        return Toolchain(tuple(entry["compiler"]), tuple(entry["flags"]), entry["identity"])
    return None


def _remember(found: Toolchain) -> None:
    with suppress(OSError):  # a cache that is complete may be read-only; else `compile_once` tells
        target = toolchain_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
            (Path(scratch) / target.name).write_text(json.dumps(asdict(found)))
            os.replace(Path(scratch) / target.name, target)


def default_lanes(real: str) -> int:
    """Lanes that fill one vector register of this CPU."""
    return toolchain().vector_bytes // (8 if real == "double" else 4)


def included_sources(file: str) -> dict[str, str]:
    """Texts by name of a kernel file and of all that it includes, directly or not; `signatures.h` is the generated one.

    Raises KernelError for a name that is not in `kernels/`.
    """
    texts: dict[str, str] = {}
    waiting = [file]
    while waiting:
        name = waiting.pop()
        if name != "signatures.h" and name not in kernel_sources():
            raise KernelError(f"{file} needs {name}, which is not in kernels/; correct the name or the #include")
        texts[name] = signatures.header(file) if name == "signatures.h" else kernel_sources()[name]
        found = re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', texts[name], re.MULTILINE)
        waiting += [header for header in found if header not in texts]
    return texts


def source_key(file: str, *parts: str) -> str:
    """Hash of a kernel file with all that it includes, and of `parts`."""
    digest = hashlib.sha256()
    for text in (*(word for item in sorted(included_sources(file).items()) for word in item), file, *parts):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:24]


def write_sources(directory: Path, file: str) -> None:
    """Lay out a kernel file and what it includes, ready for a compiler: nothing that is not in `source_key`."""
    for name, text in included_sources(file).items():
        (directory / name).write_text(text)


def compile_host(file: str, defines: dict[str, object]) -> Path:
    """The shared library of one kernel file for one set of macros, compiled if the cache does not hold it.

    Raises InputError without a compiler or a writable cache, KernelError with the compiler's words if it fails.
    """
    options = [f"-D{name}={value}" for name, value in sorted(defines.items())]
    if "HOST_THREADS" in defines or defines.get("LANES") == 1:
        options += ONE_LANE_FLAGS
    tools = toolchain()
    name = f"{Path(file).stem}-{source_key(file, *options, *tools.compiler, *tools.flags, tools.identity)}.so"
    if not (cache_directory() / name).exists():
        try:
            host_compiler()
        except InputError as error:
            kernel = " ".join([file, *(f"{macro}={value}" for macro, value in sorted(defines.items()))])
            raise InputError(f"kernel {kernel} is not in the cache {cache_directory()}: {error}") from None
    return compile_once(name, lambda target: _compile(file, options, target))


def compile_once(name: str, build: Callable[[Path], None]) -> Path:
    """The file `name` of the cache, made by `build(path)` if it is not there: by one process of a node, others wait.

    `build` must put the whole file in place at once (os.replace). Raises InputError if the cache cannot be written.
    """
    directory = cache_directory()
    target = directory / name
    if target.exists():
        return target
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / f".{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                build(target)
        (directory / f".{name}.lock").unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"kernel cache {directory}: {error.strerror or error}; "
                         "set SLHMC_CACHE_DIR to a directory that can be written") from None
    return target


def _compile(file: str, options: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
        write_sources(Path(scratch), file)
        command = [*host_compiler(), *host_flags(), *options, file, "-o", target.name]
        result = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if result.returncode != 0:
            raise KernelError(f"the compiler refused {file}:\n  {shlex.join(command)}\n{result.stderr[-4000:]}")
        target.with_suffix(".txt").write_text(shlex.join(command) + "\n")
        os.replace(Path(scratch) / target.name, target)
