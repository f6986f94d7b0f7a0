"""Every kernel compiles for GPUs, fits in registers, and takes its arguments as ctypes packs them. No GPU needed."""

import ctypes
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cupy_stand_in
import pytest

from slhmc.backend import signatures
from slhmc.backend.compiler import kernel_sources
from slhmc.backend.cuda_compiler import NVRTC_FLAGS, compile_cuda, kernel_usage, nvrtc_library
from slhmc.errors import InputError, KernelError

try:
    NVRTC = nvrtc_library()[0]
except InputError as error:
    pytest.skip(f"{error}", allow_module_level=True)

ARCHITECTURES = ("sm_80", "sm_90")
REALS = ("double", "float")
PLAIN = {"bicgstab.cc", "bounds.cc", "linear_algebra.cc", "random.cc", "worm.cc"}  # know no gauge group
GAUGE = {"flow.cc", "gauge.cc", "heat_bath.cc", "links.cc", "static_potential.cc"}  # know any gauge group
QUARKS = {"wilson.cc", "clover.cc", "clover_term.cc", "domain_wall.cc", "topology.cc"}  # know four dimensions
LANES = 16                                               # as CudaDevice.default_lanes
SLICES = {"domain_wall.cc": (8, 16), "staggered.cc": (0, 3)}  # Ls of kernels that know a fifth dimension, or blocks of vectors

# Beyond SU(2) and SU(3) in four dimensions: one architecture is enough to see that they compile and what they spill.
OTHER_GROUPS = ((2, 3), (3, 3), (3, 2))
LARGE_GROUPS = ((4, 4), (5, 4), (6, 4))  # no quarks

# (colors, real): why spills are tolerated, and the most bytes of stores and loads a thread, by kernel
ALLOWED_SPILLS = {
    (3, "double"): ("a matrix is 36 of 255 registers; these derivatives hold up to eight", {
        "ape_pull_back": 600, "glued_pull_back": 2200, "plaquette_pull_back": 100}),
    (4, "double"): ("a matrix is 64 of 255 registers; a product of two added to a sum holds four", {
        "rectangle_sum": 900, "heat_bath": 200, "over_relaxation": 200, "spatial_stout": 300}),
    (5, "double"): ("a matrix is 100 of 255 registers; a product of two holds three", {
        "plaquette_coefficients": 2400, "rectangle_coefficients": 1600, "wilson_flow": 200, "symanzik_flow": 200,
        "zeuthen_flow": 100, "flow_distance": 200, "rectangle_sum": 3600, "plaquette_sum": 2400, "heat_bath": 2400,
        "over_relaxation": 2600, "link_update": 100, "spatial_stout": 3200}),
    (6, "double"): ("a matrix is 144 of 255 registers, two are too many; in the two sums ptxas gives up on registers", {
        "plaquette_coefficients": 4800, "plaquette_force": 1100, "rectangle_force": 2400, "rectangle_sum": 115000,
        "rectangle_coefficients": 6000, "rectangle_sides": 600, "field_strength_sums": 4200, "wilson_flow": 3600,
        "symanzik_flow": 5600, "zeuthen_flow": 5600, "flow_distance": 3000,
        "plaquette_sum": 52000, "heat_bath": 8000, "over_relaxation": 9300,
        "link_update": 2700, "transport": 500, "spatial_stout": 10800, "ladder": 1500}),
    (6, "float"): ("a matrix is 72 of 255 registers; a product of two added to a sum holds four", {
        "plaquette_sum": 300, "heat_bath": 400, "over_relaxation": 400, "spatial_stout": 800}),
}


def cases():
    """(file, real, architecture, colors, dimensions, Ls); colors and Ls 0 for kernels that know none."""
    for file in signatures.KERNELS:
        for real in REALS:
            for architecture in ARCHITECTURES:
                groups = [(0, 0)] if file in PLAIN else [(2, 4), (3, 4)]
                if file not in PLAIN | QUARKS and architecture == "sm_90":
                    groups += OTHER_GROUPS + LARGE_GROUPS * (file in GAUGE)
                yield from ((file, real, architecture, *group, Ls) for group in groups for Ls in SLICES.get(file, (0,)))


CASES = list(cases())


def compile_case(case) -> str:
    """The log of one compilation."""
    file, real, architecture, colors, dimensions, Ls = case
    defines = {"REAL": real, "LANES": LANES} | ({"COLORS": colors, "DIMENSIONS": dimensions} if colors else {})
    defines |= {"LS": Ls} if Ls else {}
    return compile_cuda(file, defines, architecture)[1]


def result_of(future) -> str | KernelError:
    try:
        return future.result()
    except KernelError as error:
        return error


@pytest.fixture(scope="module")
def logs(request):
    """Logs of the cases that this run selected, two compiled at a time."""
    items = [item for item in request.session.items if "logs" in getattr(item, "fixturenames", ())]
    selected = {item.callspec.params["case"] for item in items}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        futures = {case: pool.submit(compile_case, case) for case in selected}
        return {case: result_of(future) for case, future in futures.items()}


@pytest.mark.timeout(900)  # the first one waits for all compilations, 300 of them beside other tests
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_kernels_compile_and_do_not_spill(case, logs):
    file, real, _, colors, _, _ = case
    if isinstance(logs[case], KernelError):
        raise logs[case]
    usage = kernel_usage(logs[case])
    assert usage.keys() == signatures.KERNELS[file].keys()
    for kernel, used in usage.items():
        _, allowed = ALLOWED_SPILLS.get((colors, real), ("", {}))
        assert used.spill_bytes <= allowed.get(kernel, 0), f"{kernel}: {used}"


def compile_text(text: str, headers: dict[str, str]) -> None:
    """Compile a program; the log goes to the test's output."""
    headers = {name: source for name, source in kernel_sources().items() if name.endswith(".h")} | headers
    program = NVRTC.createProgram(text, "layout.cu", tuple(h.encode() for h in headers.values()),
                                  tuple(name.encode() for name in headers))
    try:
        NVRTC.compileProgram(program, ("-arch=compute_90", NVRTC_FLAGS[0], "-DREAL=float", f"-DLANES={LANES}"))
    finally:
        print(NVRTC.getProgramLog(program))
        NVRTC.destroyProgram(program)


@pytest.mark.parametrize("file", list(signatures.KERNELS))
def test_arguments_lie_in_memory_as_ctypes_packs_them(file):
    checks = []
    for name in signatures.KERNELS[file]:
        structure = signatures.structure(file, name, "float")
        checks.append(f"static_assert(sizeof({name}_arguments) == {ctypes.sizeof(structure)});")
        checks += [f"static_assert(OFFSET({name}_arguments, {field}) == {getattr(structure, field).offset});"
                   for field, _ in structure._fields_]
    offset = "#define OFFSET(T, f) __INTADDR__(&((T *)0)->f)"  # what offsetof is on NVRTC
    compile_text("\n".join(['#include "signatures.h"', offset, *checks, ""]), {"signatures.h": signatures.header(file)})


def test_a_kernel_that_does_not_compile_is_told_with_the_compilers_words(tmp_path, monkeypatch):
    monkeypatch.setenv("SLHMC_CACHE_DIR", str(tmp_path))
    with pytest.raises(KernelError, match=r"NVRTC refused gauge\.cc(.|\n)*COLORS"):
        compile_cuda("gauge.cc", {"REAL": "double", "LANES": 1}, "sm_90")
    assert not list(tmp_path.glob("*.cubin"))


def test_a_second_compilation_comes_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLHMC_CACHE_DIR", str(tmp_path))
    first = compile_cuda("random.cc", {"REAL": "double", "LANES": 1}, "sm_90")
    monkeypatch.setattr(NVRTC, "compileProgram", None)
    assert compile_cuda("random.cc", {"REAL": "double", "LANES": 1}, "sm_90") == first


def test_the_stand_in_of_other_tests_offers_nothing_that_cupy_lacks():
    import cupy
    import cupyx

    assert callable(cupyx.empty_pinned)
    imitation = cupy_stand_in.module().cuda
    for group in ("runtime", "driver", "function", "memory"):
        assert vars(getattr(imitation, group)).keys() <= set(dir(getattr(cupy.cuda, group)))
    pairs = ((cupy_stand_in.Array, cupy.ndarray), (cupy_stand_in.Stream, cupy.cuda.Stream),
             (cupy_stand_in.Module, cupy.cuda.function.Module))
    for stand_in, original in pairs:
        public = {name for name, member in vars(stand_in).items() if callable(member) and not name.startswith("_")}
        assert public <= set(dir(original))
