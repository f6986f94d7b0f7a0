"""Run all benchmarks, print them beside their bounds, write JSON."""

import json
import sys
from pathlib import Path

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.bench import flow, scalar, smearing, spinors, trajectories
from slhmc.bench.cases import Workbench
from slhmc.bench.machine import Machine
from slhmc.bench.timing import seconds_per_call
from slhmc.errors import InputError
from slhmc.io.directory import refuse_replacing

LATTICES = ((4, 4, 4, 4), (8, 8, 8, 8), (16, 16, 16, 16), (24, 24, 24, 32))
QUICK = LATTICES[:2]
REALS = ("double", "float")
LARGEST = {3: 4, 2: 3}  # SU(2) up to 16^4
HEADER = f"{'kernel':<24}{'real':<8}{'lattice':<13}{'threads':>7}{'us':>12}{'GF/s':>9}{'GB/s':>8}{'of bound':>10}{'meet, ns':>10}"


def main(device: str = "cpu", quick: bool = False, json_file: str | None = None) -> int:
    """Measure on `device`; `json_file` is a path, or "-" for JSON instead of the table on the terminal."""
    if json_file not in (None, "-"):
        refuse_replacing(Path(json_file))
    opened = open_device(device)
    show = print if json_file != "-" else lambda *_, **__: None
    result = {"version": __version__, "device": opened.description(), "bounds": [], "kernels": [], "trajectories": [],
              "worms": [], "networks": []}
    show(f"slhmc {__version__} on {result['device']}")
    for threads in opened.thread_counts():
        _measure(opened, threads, quick, result, show)
    text = json.dumps(result, indent=1)
    if json_file == "-":
        print(text)
    elif json_file is not None:
        try:
            Path(json_file).write_text(text + "\n")
        except OSError as error:
            raise InputError(f"{json_file}: cannot write the results: {error.strerror}; give another file") from None
    return 0


def _measure(device, threads: int, quick: bool, result: dict, show) -> None:
    device.use_threads(threads)
    machine = Machine(device)
    bounds = {"threads": threads, "peak": {real: machine.peak(real) for real in REALS},
              "triad": {size: machine.bandwidth(size) for size in (1 << 18, 1 << 22, 1 << 28)}}
    result["bounds"].append(bounds)
    show(f"\n{threads} thread{'s' * (threads > 1)}: FMA peak {bounds['peak']['double'] / 1e9:.0f} GF/s double, "
         f"{bounds['peak']['float'] / 1e9:.0f} single; triad " +
         ", ".join(f"{rate / 1e9:.0f} GB/s in {size >> 10} KiB" for size, rate in bounds["triad"].items()))
    show(HEADER)
    for colors in (3, 2):
        for extent in QUICK if quick else LATTICES[:LARGEST[colors]]:
            for case in cases(device, extent, colors):
                row = _row(device, machine, case, extent, colors, threads)
                result["kernels"].append(row)
                show(_line(row))
    for run in (trajectories.staggered_card, trajectories.pure_gauge):
        row = run(device) | {"threads": threads}
        result["trajectories"].append(row)
        show(f"{row['name']}, {row['lattice']}: {row['seconds'] * 1e3:.2f} ms a trajectory, "
             f"{row['kernel_share']:.0%} of it in kernels", file=sys.stdout)
    for mu in scalar.POINTS:
        row = scalar.measure(device, mu, threads)
        result["worms"].append(row)
        show(scalar.line(row))
    _measure_networks(device, machine, threads, quick, result, show)


def _measure_networks(device, machine: Machine, threads: int, quick: bool, result: dict, show) -> None:
    """Training steps of L-CNNs, which need torch."""
    try:
        from slhmc.bench import lcnn
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        show("L-CNN steps are left out: they need torch (pip install 'slhmc[learn]')")
        return
    for step in lcnn.QUICK if quick else lcnn.STEPS:
        row = lcnn.measure(device, machine, step, threads)
        result["networks"].append(row)
        show(lcnn.line(row))


def cases(device, extent, colors: int):
    """The cases of one lattice, one after the other (large lattices would not fit together)."""
    bench = Workbench(device, extent, colors)
    yield from bench.gauge_cases()
    yield from bench.update_cases()
    yield from smearing.cases(bench)
    yield from flow.cases(bench)
    yield bench.quark_force_case()
    yield from (bench.hopping_links_case(real) for real in REALS)
    yield from (bench.hopping_case(real) for real in REALS)
    yield from (case for real in REALS for case in bench.linear_algebra_cases(real))
    yield from (bench.solver_case(precision) for precision in ("double", "mixed"))
    yield from spinors.cases(bench)


def _row(device, machine: Machine, case, extent, colors: int, threads: int) -> dict:
    before = device.meeting_seconds()
    seconds = seconds_per_call(device, case.work, inner=case.inner)
    meeting = max(before, device.meeting_seconds())
    bound = machine.bound(case.real, case.flops, case.moved, case.working_set)
    return {"kernel": f"{case.name} SU({colors})", "real": case.real, "lattice": "x".join(map(str, extent)), "threads": threads,
            "seconds": seconds, "flops": case.flops, "bytes": case.moved, "working_set": case.working_set,
            "bandwidth": machine.bandwidth(case.working_set), "bound_seconds": bound, "fraction": bound / seconds,
            "meeting_seconds": meeting}


def _line(row: dict) -> str:
    return (f"{row['kernel']:<24}{row['real']:<8}{row['lattice']:<13}{row['threads']:>7}{row['seconds'] * 1e6:>12.2f}"
            f"{row['flops'] / row['seconds'] / 1e9:>9.1f}{row['bytes'] / row['seconds'] / 1e9:>8.1f}{row['fraction']:>10.0%}"
            + (f"{row['meeting_seconds'] * 1e9:>10.0f}" if row["meeting_seconds"] else f"{'-':>10}"))
