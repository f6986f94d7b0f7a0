"""Compile kernel files for a GPU architecture by NVRTC, without a driver or a GPU, into the same cache."""

import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from slhmc.backend.compiler import compile_once, included_sources, source_key
from slhmc.errors import InputError, KernelError

# ptxas reports registers and spills of every kernel in the log
NVRTC_FLAGS = ("-std=c++17", "--ptxas-options=-v")
INSTALL = "pip install 'slhmc[cuda13]' (driver 580 or later) or 'slhmc[cuda12]' (older drivers)"


@cache
def nvrtc_library():
    """CuPy's binding of NVRTC and its version. Raises InputError without either."""
    try:
        from cupy.cuda import nvrtc
    except ImportError as error:
        raise InputError(f"device cuda needs CuPy, which cannot be imported ({error}): {INSTALL}") from None
    try:
        return nvrtc, nvrtc.getVersion()
    except RuntimeError as error:
        raise InputError(f"device cuda needs NVRTC, which cannot be loaded ({error}): {INSTALL}") from None


def compile_cuda(file: str, defines: dict[str, object], arch: str) -> tuple[bytes, str]:
    """(cubin, log) of one kernel file for one set of macros and an architecture such as "sm_90", through the cache.

    Raises InputError without CuPy, NVRTC or a writable cache, KernelError with the compiler's words if it fails.
    """
    nvrtc, version = nvrtc_library()
    options = (f"-arch={arch}", *NVRTC_FLAGS, *(f"-D{name}={value}" for name, value in sorted(defines.items())))
    key = source_key(file, *options, f"NVRTC {version}")
    target = compile_once(f"{Path(file).stem}-{key}.cubin", lambda path: _compile(nvrtc, file, options, path))
    return target.read_bytes(), target.with_suffix(".log").read_text()


def _compile(nvrtc, file: str, options: tuple[str, ...], target: Path) -> None:
    headers = included_sources(file)
    program = nvrtc.createProgram(headers.pop(file), file, tuple(text.encode() for text in headers.values()),
                                  tuple(name.encode() for name in headers))
    try:
        nvrtc.compileProgram(program, options)
        cubin, log = nvrtc.getCUBIN(program), nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise KernelError(f"NVRTC refused {file} ({error}):\n  {' '.join(options)}\n{log[:4000]}") from None
    finally:
        nvrtc.destroyProgram(program)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
        for path, content in ((target.with_suffix(".log"), log.encode()), (target, cubin)):  # a cubin has its log
            (Path(scratch) / path.name).write_bytes(content)
            os.replace(Path(scratch) / path.name, path)


@dataclass(frozen=True)
class Usage:
    """What ptxas gave a kernel: 32-bit registers a thread, bytes of spills (stores and loads) and of stack frame."""

    registers: int
    spill_bytes: int
    stack_bytes: int


def kernel_usage(log: str) -> dict[str, Usage]:
    """Usage of every kernel in a log of `compile_cuda`."""
    pattern = (r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
               r"(\d+) bytes spill loads.*?Used (\d+) registers")
    return {name: Usage(int(registers), int(stores) + int(loads), int(stack))
            for name, stack, stores, loads, registers in re.findall(pattern, log, re.DOTALL)}
