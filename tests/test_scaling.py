"""scripts/scaling: what it measures on ranks, and its model against numbers made by hand and those of the benchmark."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from running import ROOT

from slhmc.backend import open_device
from slhmc.bench.cases import Workbench
from slhmc.bench.scaling_model import Machine, Trajectory, iteration, operators
from slhmc.bench.spinors import wilson_solver

SCRIPT = ROOT / "scripts" / "scaling.py"
MACHINE = Machine("round numbers", memory=1e12, flops=1e15, network=1e10, latency=1e-6, launch=1e-7)


def test_ranks_threads_and_longer_lattices_are_timed(tmp_path):
    page = tmp_path / "scaling.md"
    page.write_text((ROOT / "docs" / "scaling.md").read_text())
    done = subprocess.run([sys.executable, SCRIPT, "--ranks", "2", "--extent", "4", "4", "4", "4", "--rounds", "2", "--seconds",
                           "1e-3", "-o", tmp_path / "scaling.json", "--page", page], capture_output=True, text=True, timeout=250,
                          check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert list(found) == ["one", "threads 2", "ranks 2", "weak 2"]
    cases = ["staggered hop, double", "Wilson hop, double", "staggered hop, single", "Wilson hop, single",
             "pure gauge trajectory, 4 omelyan2 steps", "staggered trajectory, m 0.1, 2 omelyan2 steps"]
    assert all(list(seconds) == cases and min(seconds.values()) > 0 for seconds in found.values())
    text = page.read_text()
    assert all(f"| {case} | {1e3 * found['one'][case]:.3g} |" in text for case in cases)
    assert done.stderr.count("round 2 of 2") == 4 and "| 512 | 4x4x4x8 | 16x16x16x16 |" in text


def test_ranks_that_do_not_fit_are_told(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--ranks", "3", "--extent", "4", "4", "4", "4", "--rounds", "1", "--seconds",
                           "1e-3"], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 3 and "3 ranks do not divide the lattice" in done.stderr and "Traceback" not in done.stderr


def test_the_page_has_the_model_of_this_version():
    """Tables of the model are made, not typed."""
    done = subprocess.run([sys.executable, SCRIPT, "--model"], capture_output=True, text=True, timeout=60, check=True)
    page = (ROOT / "docs" / "scaling.md").read_text()
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(lines) == 5 + 4 * 9 and all(line in page for line in lines)


def test_bytes_and_flops_are_those_of_the_benchmark():
    bench = Workbench(open_device("cpu"), (4, 4, 4, 4), 3)
    for operator, case in (("staggered", bench.solver_case("mixed")), ("wilson", wilson_solver(bench, "mixed"))):
        model = operators()[operator]
        assert model.flops == pytest.approx(case.flops / 256) and model.moved == pytest.approx(case.moved / 256)


def test_an_iteration_by_hand():
    """8^4 on 16 ranks of 8x8x2x2: two directions, two faces of 128 sites each, half of them of a parity."""
    operator = replace(operators()["wilson"], flops=1000.0, moved=1e4, face=96, hops=4, kernels=10)
    found = iteration(MACHINE, operator, (8, 8, 8, 8), 16)
    assert found.grid == (1, 1, 4, 4) and found.local == (8, 8, 2, 2)
    assert found.halo_bytes == 4 * 96 * 2 * 2 * 128 / 2
    assert found.work == pytest.approx(256 * 1e4 / 1e12) and found.halo == pytest.approx(found.halo_bytes / 1e10)
    assert found.waiting == pytest.approx((4 + 2 * 4) * 1e-6 + 10 * 1e-7)
    assert found.seconds == pytest.approx(max(found.work, found.halo) + found.waiting) and found.bottleneck == "latency"
    alone = iteration(MACHINE, operator, (8, 8, 8, 8), 1)
    assert alone.halo == 0 and alone.waiting == pytest.approx(1e-6) and alone.bottleneck == "memory"
    staged = iteration(replace(MACHINE, exchange=1e-5), operator, (8, 8, 8, 8), 16)
    assert staged.waiting - found.waiting == pytest.approx((4 + 2) * 1e-5)


def test_a_trajectory_is_its_iterations_and_forces():
    operator, extent = operators()["staggered"], (8, 8, 8, 8)
    whole = Trajectory(operator, iterations=100, gauge_forces=3)
    assert whole.flops(4096) == pytest.approx(4096 * (100 * operator.flops + 3 * 6250))
    assert whole.moved(4096) == pytest.approx(4096 * (100 * operator.moved + 3 * 1088))
    force = max(4096 * 1088 / MACHINE.memory, 2 * 4096 * 6250 / MACHINE.flops)
    assert whole.seconds(MACHINE, extent, 1) == pytest.approx(100 * iteration(MACHINE, operator, extent, 1).seconds + 3 * force)
