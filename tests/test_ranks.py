"""The same physics on any rank grid: fields, forces and solutions, whole runs, and how ranks end together."""

import json
import signal
import subprocess
import time
from itertools import pairwise

import numpy as np
import pytest
from rank_program import results_of
from running import CARDS, ROOT, card_file, command_line, final_links, run_process, sets, slhmc_command

from slhmc.cli.launch import run_ranks
from slhmc.io import EnsembleFile

pytest.importorskip("mpi4py", exc_type=ImportError)
pytestmark = pytest.mark.mpi

SECONDS = 60  # no launch here needs half of it, even with the ranks sharing one core
SECONDS_WITH_COMPILER = 240  # the first launch on a grid may find its kernels not built

WIDE, SMALL, HOT = [8, 4, 4, 8], [4, 4, 4, 4], [8, 8, 8, 4]
# per number of ranks: (kind, colours, extent, rank grid); every direction is split alone and together with another
CASES = {
    2: [(kind, 3, WIDE, [1, 1, 1, 2]) for kind in (
        "random_fields", "gauge", "quarks", "chain", "gauge_chain", "nested_chain", "guided_chain")]
    + [(kind, 2, WIDE, grid) for grid in ([2, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1])
       for kind in ("random_fields", "gauge", "quarks", "chain")]
    + [("gauge", 2, [8, 8], [2, 1]), ("chain", 2, [8, 8], [1, 2]), ("gauge_chain", 2, [8, 8], [2, 1]),
       ("quarks", 3, [4, 8, 4], [1, 2, 1]), ("roots", 3, [4, 8, 4], [1, 2, 1]),
       ("one_flavor", 3, [4, 4, 4, 8], [1, 1, 1, 2])]
    + [(kind, 3, WIDE, [1, 1, 1, 2]) for kind in ("wilson", "clover", "clover_chain")]
    + [(kind, 2, WIDE, grid) for grid in ([2, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1]) for kind in ("wilson", "clover")]
    + [("domain_wall", 3, WIDE, [1, 1, 1, 2]), ("domain_wall", 2, WIDE, [2, 1, 1, 1])]
    + [("mesons", 2, WIDE, [1, 1, 1, 2]), ("mesons", 2, WIDE, [2, 1, 1, 1])]
    + [("quark_ratios", 3, WIDE, [1, 1, 1, 2]), ("quark_ratios", 2, WIDE, [2, 1, 1, 1])]
    + [("networks", 3, WIDE, [1, 1, 1, 2]), ("networks", 2, WIDE, [2, 1, 1, 1]), ("networks", 3, [4, 8, 4], [1, 2, 1]),
       ("networks, as large", 3, WIDE, [1, 1, 1, 2]), ("networks, as large", 2, WIDE, [2, 1, 1, 1])]
    + [("flow", 3, WIDE, [1, 1, 1, 2]), ("flow", 2, WIDE, [2, 1, 1, 1]), ("flow", 3, [4, 8, 4], [1, 2, 1]),
       ("flow", 2, [8, 8], [2, 1])]
    + [("static_potential", 3, WIDE, [1, 1, 1, 2]), ("static_potential", 2, WIDE, [2, 1, 1, 1]),
       ("static_potential", 2, [8, 8], [1, 2])]
    + [(kind, 3, extent, grid) for extent, grid in ((WIDE, [1, 1, 1, 2]), (WIDE, [2, 1, 1, 1]), ([4, 8, 4], [1, 2, 1]))
       for kind in ("gauge, as large", "gauge_chain, as large", "flow, as large", "quarks, as large")],
    4: [(kind, 3, WIDE, [1, 1, 1, 4]) for kind in ("gauge", "quarks", "chain")]  # blocks no deeper than the halo
    + [(kind, 2, WIDE, grid) for grid in ([4, 1, 1, 1], [2, 1, 1, 2], [1, 2, 2, 1])
       for kind in ("random_fields", "gauge", "quarks", "chain")]
    + [(kind, 2, SMALL, [1, 1, 2, 2]) for kind in ("gauge", "quarks", "roots", "nested_chain")]
    + [("chain", 3, HOT, [2, 2, 1, 1]), ("guided_chain", 3, WIDE, [1, 1, 1, 4]), ("guided_chain", 2, WIDE, [2, 1, 1, 2])]
    + [(kind, 3, WIDE, [1, 1, 1, 4]) for kind in ("wilson", "clover")]
    + [(kind, 2, WIDE, [2, 1, 1, 2]) for kind in ("wilson", "clover")]
    + [(kind, 2, SMALL, [1, 2, 2, 1]) for kind in ("wilson", "clover", "clover_chain")]
    + [("domain_wall", 2, WIDE, [2, 1, 1, 2]), ("domain_wall", 2, SMALL, [1, 2, 2, 1])]
    + [("networks", 3, WIDE, [1, 1, 1, 4]), ("networks", 2, SMALL, [1, 1, 2, 2]), ("networks", 2, WIDE, [2, 1, 1, 2])]
    + [("static_potential", 3, WIDE, [1, 1, 1, 4]), ("static_potential", 2, WIDE, [2, 1, 1, 2])]
    + [("flow", 3, WIDE, [1, 1, 1, 4]), ("flow", 2, SMALL, [1, 1, 2, 2]), ("flow", 2, WIDE, [1, 2, 2, 1])]
    + [("gauge, as large", 2, SMALL, [1, 1, 2, 2]), ("flow, as large", 2, WIDE, [2, 1, 1, 2])],
}
# one launch a group, so that none has all kernels to compile
SPINORS = {"wilson", "clover", "clover_chain", "domain_wall", "mesons", "quark_ratios", "one_flavor"}
SMEARED = {"networks", "networks, as large", "guided_chain"}
CHAINS = {"chain", "gauge_chain", "nested_chain"}
KINDS = {case[0] for cases in CASES.values() for case in cases}
GROUPS = {"spinors": SPINORS, "smeared links": SMEARED, "chains": CHAINS, "others": KINDS - SPINORS - SMEARED - CHAINS}
BITWISE = {"hot links", "momenta", "colour vector", "uniform deviate"}
TOLERANCE = {"hop in single precision": 1e-5, "hop in single precision, adjoint": 1e-5}


def named(cases):
    """Cases for rank_program."""
    return [{"name": f"SU({colors}) {extent} on {ranks}, {kind}", "kind": kind, "colors": colors, "extent": extent,
             "ranks": ranks} for kind, colors, extent, ranks in cases]


@pytest.fixture(scope="module")
def on_one_rank():
    """Results of a case on one rank, computed once for all grids, by quantity."""
    known = {}

    def results(case):
        key = (case["kind"], case["colors"], tuple(case["extent"]))
        if key not in known:
            found = results_of(case | {"name": "", "ranks": None})
            known[key] = {name.removeprefix("/"): value for name, value in found.items()}
        return known[key]
    return results


def on_ranks(processes, *arguments, timeout=SECONDS):
    """`python -m mpi4py ARGUMENTS` on ranks, as slhmc launch starts it."""
    return run_ranks(processes, [str(word) for word in arguments], {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}, timeout)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("processes", sorted(CASES))
def test_every_rank_grid_computes_the_same(tmp_path, processes, group, on_one_rank):
    cases = named(case for case in CASES[processes] if case[0] in GROUPS[group])
    (tmp_path / "job.json").write_text(json.dumps({"cases": cases, "output": str(tmp_path / "results.npz")}))
    job = on_ranks(processes, ROOT / "tests" / "rank_program.py", tmp_path / "job.json", timeout=SECONDS_WITH_COMPILER)
    assert job.returncode == 0, job.stderr
    results = np.load(tmp_path / "results.npz")
    for case in cases:
        for name, expected in on_one_rank(case).items():
            found, where = results[f"{case['name']}/{name}"], f"{case['name']}: {name}"
            if name in BITWISE:
                np.testing.assert_array_equal(found, expected, err_msg=where)
            elif name == "lanes":  # ranks leave fewer directions to cut, and blocks of two sites are not cut
                assert found <= expected if case["extent"] != SMALL else found == min(4, expected), where
            else:
                scale = TOLERANCE.get(name, 1e-12) * max(1.0, np.abs(expected).max())
                np.testing.assert_allclose(found, expected, rtol=0, atol=scale, err_msg=where)


def test_the_chains_that_are_compared_move(on_one_rank):
    """A chain that rejects everything would agree with itself on any ranks."""
    for case in named([case for cases in CASES.values() for case in cases if "chain" in case[0]]):
        found = on_one_rank(case)
        links = [found[f"links after {number}"] for number in (1, 2, 3)]
        assert all(abs(after - before).max() > 0.1 for before, after in pairwise(links))


# ---- whole runs
# few trajectories from unit links, double precision and tight forces: then rounding has no time to grow to 1e-12
SHORT = sets("run.trajectories=4", "run.thermalization=0", "run.start=cold", "hmc.length=0.3", "hmc.steps=4",
             "solver.precision=double", "solver.force_tolerance=1e-13", "measure.chiral_condensate.every=2")


def test_one_card_gives_one_chain_however_it_is_launched(tmp_path):
    card = CARDS / "su2_staggered_hmc.toml"
    assert slhmc_command("run", card, "-o", tmp_path / "one", *SHORT) == 0
    for processes, grid in ((1, []), (2, []), (4, sets("lattice.ranks=[2,1,1,2]"))):
        result = run_process("launch", "-n", processes, "run", card, "-o", tmp_path / f"launch{processes}", *SHORT, *grid)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("trajectory 4/4") == 1
    plain = on_ranks(2, "-m", "slhmc", "run", card, "-o", tmp_path / "plain", *SHORT)
    assert plain.returncode == 0, plain.stderr
    (links, last), chain = final_links(tmp_path / "one"), EnsembleFile.open(tmp_path / "one" / "chain.h5")
    assert chain.records["accepted"].sum() >= 2
    for name in ("launch1", "launch2", "launch4", "plain"):
        found, trajectory = final_links(tmp_path / name)
        assert trajectory == last
        np.testing.assert_allclose(found, links, rtol=0, atol=1e-12, err_msg=name)
        assert_close_chain(EnsembleFile.open(tmp_path / name / "chain.h5"), chain)


def assert_close_chain(chain, expected):
    np.testing.assert_array_equal(chain.records["accepted"], expected.records["accepted"])
    np.testing.assert_allclose(chain.records["delta_h"], expected.records["delta_h"], rtol=0, atol=1e-9)
    for name, (trajectories, values) in expected.observables.items():
        np.testing.assert_array_equal(chain.observables[name][0], trajectories)
        np.testing.assert_allclose(chain.observables[name][1], values, rtol=0, atol=1e-9, err_msg=name)


def test_usr1_stops_all_ranks_after_one_trajectory_and_another_grid_goes_on(tmp_path):
    """The launcher hands the signal on; one rank may resume what two have begun."""
    card, endless = card_file(tmp_path), sets("run.trajectories=1000000")
    command = command_line("launch", "-n", 2, "run", card, "-o", tmp_path / "run", *endless)
    with open(tmp_path / "out", "w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
        wait_for(lambda: "trajectory" in (tmp_path / "out").read_text(), process)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(SECONDS) == 75, (tmp_path / "out").read_text()
    assert f"continue with: slhmc resume {tmp_path / 'run'}" in (tmp_path / "out").read_text()
    _, stopped = final_links(tmp_path / "run")
    assert stopped > 0 and EnsembleFile.open(tmp_path / "run" / "chain.h5").records["trajectory"][-1] == stopped
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", stopped) == 0
    assert final_links(tmp_path / "run")[1] == stopped + 3


def wait_for(condition, process):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


# ---- how ranks end
ONE_FAILS = """
import sys
from mpi4py import MPI
from slhmc.cli import main
from slhmc.errors import ComputationError
from slhmc.lattice.halo import _Plan

finish, calls = _Plan.finish, []

def failing(self, array):
    calls.append(1)
    if MPI.COMM_WORLD.rank == 1 and len(calls) > 5:
        raise ComputationError("the network is gone")
    finish(self, array)

_Plan.finish = failing
main(sys.argv[1:])
"""


def own_lines(text):
    return [line for line in text.splitlines() if line.startswith("slhmc: ")]


def test_an_error_of_one_rank_in_mid_exchange_ends_the_job(tmp_path):
    """The others wait for a message that never comes; if they were left to, the time-out of the job would end the test."""
    (tmp_path / "program.py").write_text(ONE_FAILS)
    result = on_ranks(2, tmp_path / "program.py", "run", card_file(tmp_path), "-o", tmp_path / "run")
    assert result.returncode == 3
    assert own_lines(result.stderr) == ["slhmc: rank 1: trajectory 1: the network is gone"]


MPI_FAILS = """
import ctypes, sys
from mpi4py import MPI
from slhmc.backend import messages
from slhmc.cli import main

calls, wait_all = [], ctypes.CDLL(MPI.__file__).MPI_Waitall
wait_all.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def failing(*arguments):
    calls.append(1)
    return MPI.ERR_OTHER if MPI.COMM_WORLD.rank == 1 and len(calls) > 300 else wait_all(*arguments)

messages._mpi().wait_all = ctypes.cast(failing, ctypes.c_void_p).value
main(sys.argv[1:])
"""


def test_an_error_code_of_mpi_on_one_rank_ends_the_job(tmp_path):
    """It comes up in compiled code, in mid tape."""
    (tmp_path / "program.py").write_text(MPI_FAILS)
    result = on_ranks(2, tmp_path / "program.py", "run", card_file(tmp_path), "-o", tmp_path / "run")
    assert result.returncode == 3
    (line,) = own_lines(result.stderr)
    assert line.startswith("slhmc: rank 1: trajectory 1: messages between ranks: MPI_Waitall failed (")
    assert "slhmc resume" in line and "Traceback" not in result.stderr


def test_an_error_of_all_ranks_and_one_of_rank_zero_end_the_job_with_one_message(tmp_path):
    """A runaway is seen by all ranks; files are read by rank 0 alone, which shares its error."""
    card = card_file(tmp_path)
    for arguments, code, words in (
        (["run", card, "-o", tmp_path / "run", *sets("run.max_delta_h=1e-12")], 3, "trajectory 1: dH = "),
        (["resume", tmp_path / "nowhere"], 2, f"{tmp_path / 'nowhere'}: no card.toml found, the directory"),
    ):
        result = run_process("launch", "-n", 2, *arguments)
        assert result.returncode == code
        (line,) = own_lines(result.stderr)
        assert line.startswith(f"slhmc: {words}") and "Traceback" not in result.stderr


def test_rank_grids_that_do_not_fit_are_refused(tmp_path, capsys):
    """Here one process; a launched job says the same, once."""
    card, out = card_file(tmp_path), ["-o", tmp_path / "run"]
    for override, words in (("lattice.ranks=[1,3]", "3 ranks cut extent 8 into 2.667 sites each"),
                            ("lattice.ranks=[1,2]", "2 ranks in 2 directions, but the job has 1")):
        assert slhmc_command("run", card, *out, *sets(override)) == 2
        assert words in capsys.readouterr().err
    result = run_process("launch", "-n", 3, "run", card, *out)
    assert result.returncode == 2
    (line,) = own_lines(result.stderr)
    assert line.startswith("slhmc: 3 ranks do not divide the lattice [8, 8] into blocks of even extents")
    assert not (tmp_path / "run").exists()
