#!/usr/bin/env python3
"""Strong and weak scaling on the ranks of this machine, and a model of larger ones: tables, also for docs/scaling.md.

    scripts/scaling --ranks 2 --rounds 5 -o runs/scaling.json --page docs/scaling.md

Half hops and whole trajectories (slhmc/bench/scaling.py) on one rank, on one rank with as many threads as there are ranks, and on
the ranks, each with one thread: of one lattice (strong), and of one that is longer in t by the number of ranks (weak). Rounds go
through all of these in turn, and the median over rounds is shown, as machines are noisy. --model shows the model alone, which
measures nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from commands import ROOT, guarded
from pages import filled, markdown

from slhmc.cli.launch import run_ranks
from slhmc.errors import ComputationError

# An H100 (SXM) with its share of a 400 Gb/s network, and with NVLink; 5e-6 s from GPU to GPU, 2e-6 s a kernel of a graph
GPUS = {"network": {"memory": 3.0e12, "flops": 60e12, "network": 45e9, "latency": 5e-6, "launch": 2e-6},
        "staged": {"memory": 3.0e12, "flops": 60e12, "network": 20e9, "latency": 15e-6, "launch": 2e-6, "exchange": 60e-6}}
NAMES = {"network": "messages from GPU to GPU", "staged": "messages through the host, from Python"}
LATTICES, COUNTS = ((32, 32, 32, 64), (64, 64, 64, 128)), (4, 8, 16, 32, 64, 128, 256, 512)
TRAJECTORY = {"iterations": 40000, "gauge_forces": 200}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[os.cpu_count() or 1], help="numbers of ranks")
    parser.add_argument("--extent", type=int, nargs="+", default=[16, 16, 16, 16], metavar="SITES")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of one measurement of a hop")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all numbers")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables are replaced")
    parser.add_argument("--model", action="store_true", help="no measurement")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options)
    tables, found = model_tables(), {}
    if not options.model:
        found = measure(options)
        tables |= measured_tables(found, options)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found, indent=1))
    if options.page:
        options.page.write_text(filled(options.page.read_text(), tables))
    print("\n\n".join(f"{name}\n\n{lines}" for name, lines in tables.items()))
    return 0


# ---- measured
def work(options: argparse.Namespace) -> int:
    """On every rank: seconds of everything on one lattice; rank 0 prints them."""
    from slhmc.backend import open_device
    from slhmc.bench.scaling import scaling_seconds
    from slhmc.cli import ranks
    from slhmc.lattice import Lattice

    lattice = Lattice(options.extent, open_device(options.device), ranks.world())
    found = scaling_seconds(lattice, target=options.seconds)
    if lattice.is_root:
        print(json.dumps({"ranks": lattice.rank_grid, "seconds": found}))
    return 0


def settings(ranks: list[int], extent: list[int]) -> list[tuple[str, int, int, list[int]]]:
    """(name, ranks, threads, extent) of all that is timed."""
    found = [("one", 1, 1, extent)]
    for count in ranks:
        longer = [*extent[:-1], extent[-1] * count]
        found += [(f"threads {count}", 1, count, extent), (f"ranks {count}", count, 1, extent),
                  (f"weak {count}", count, 1, longer)]
    return found


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of each case, by setting."""
    rounds: dict[str, list[dict[str, float]]] = {}
    for number in range(options.rounds):
        for name, ranks, threads, extent in settings(options.ranks, options.extent):
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            rounds.setdefault(name, []).append(timed(ranks, threads, extent, options))
    return {name: {case: statistics.median(seconds[case] for seconds in found) for case in found[0]}
            for name, found in rounds.items()}


def timed(ranks: int, threads: int, extent: list[int], options: argparse.Namespace) -> dict[str, float]:
    """What one job says; ComputationError if it fails."""
    arguments = [str(Path(__file__)), "--worker", "--device", options.device, "--seconds", str(options.seconds), "--extent",
                 *map(str, extent)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    if ranks > 1:
        done = run_ranks(ranks, arguments, variables)
    else:
        done = subprocess.run([sys.executable, *arguments], env=dict(os.environ) | variables, capture_output=True, text=True,
                              check=False)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or [done.stderr.strip()[-500:]]
        raise ComputationError(f"{ranks} ranks, {threads} threads: exit code {done.returncode}: "
                               f"{told[0].removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def measured_tables(found: dict, options: argparse.Namespace) -> dict[str, str]:
    """ms on one rank, with threads, on ranks, and what part of the ideal that is."""
    heads, weak_heads, rows, weak = ["case", "one, ms"], ["case", "one, ms"], [], []
    for count in options.ranks:
        heads += [f"{count} threads", f"{count} ranks", f"ranks / threads, {count}"]
        weak_heads += [f"{count} ranks, {count} times the lattice", "efficiency"]
    for case, alone in found["one"].items():
        row, longer = [case, f"{1e3 * alone:.3g}"], [case, f"{1e3 * alone:.3g}"]
        for count in options.ranks:
            threads, ranks, wide = (found[f"{name} {count}"][case] for name in ("threads", "ranks", "weak"))
            row += [f"{1e3 * threads:.3g}", f"{1e3 * ranks:.3g}", f"{100 * threads / ranks:.0f}%"]
            longer += [f"{1e3 * wide:.3g}", f"{100 * alone / wide:.0f}%"]
        rows.append(row)
        weak.append(longer)
    return {"strong": markdown(heads, rows), "weak": markdown(weak_heads, weak)}


# ---- model
def model_tables() -> dict[str, str]:
    """Bytes and flops of a trajectory; iterations of both operators on both lattices."""
    from slhmc.bench.scaling_model import Machine, Trajectory, iteration, operators

    machines = {key: Machine(NAMES[key], **rates) for key, rates in GPUS.items()}
    tables, work = {}, []
    for extent in LATTICES:
        lattice, sites = "x".join(map(str, extent)), extent[0] * extent[1] * extent[2] * extent[3]
        for name, operator in operators().items():
            whole = Trajectory(operator, **TRAJECTORY)
            work.append([lattice, name, f"{whole.flops(sites) / 1e15:.3g}", f"{whole.moved(sites) / 1e15:.3g}",
                         *(f"{whole.seconds(machines['network'], extent, count):.3g}" for count in (4, 32, 256))])
            rows = []
            for count in COUNTS:
                direct, staged = (iteration(machine, operator, extent, count) for machine in machines.values())
                rows.append([str(count), "x".join(map(str, direct.grid)), "x".join(map(str, direct.local)),
                             f"{direct.halo_bytes / 1e6:.3g}", f"{1e6 * direct.work:.3g}", f"{1e6 * direct.halo:.3g}",
                             f"{1e6 * direct.waiting:.3g}", f"{1e6 * direct.seconds:.3g}", direct.bottleneck,
                             f"{100 * iteration(machines['network'], operator, extent, 1).seconds / count / direct.seconds:.0f}%",
                             f"{1e6 * staged.seconds:.3g}"])
            tables[f"{name}_{extent[0]}"] = markdown(
                ["GPUs", "grid", "local", "halo, MB", "work, us", "halo, us", "waiting, us", "iteration, us", "bottleneck",
                 "efficiency", "through the host, us"], rows)
    tables["trajectory"] = markdown(["lattice", "quarks", "Pflop", "PB", "s on 4 GPUs", "32", "256"], work)
    return tables


if __name__ == "__main__":
    sys.exit(guarded(main))
