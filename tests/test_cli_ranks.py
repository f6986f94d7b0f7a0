"""The command line on real MPI ranks: one voice, one exit code, no rank left waiting."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slhmc.cli import launch
from slhmc.cli.launch import mpi_command, run_ranks

pytest.importorskip("mpi4py", exc_type=ImportError)
pytestmark = pytest.mark.mpi

ROOT = Path(__file__).parents[1]
CARD = ROOT / "run_cards" / "su2_staggered_hmc.toml"
FAKE = """
import contextlib, sys, types
from mpi4py import MPI
import slhmc
from slhmc.errors import SolverNotConverged
from slhmc.cli import main

def run(observer, stop):
    rank = MPI.COMM_WORLD.rank
    {body}

fake = types.ModuleType("slhmc.simulation")
fake.StopRequest = contextlib.nullcontext
fake.create = lambda card, directory, device, communicator: types.SimpleNamespace(run=run)
sys.modules["slhmc.simulation"] = slhmc.simulation = fake
main(["run", {card!r}, "-o", {directory!r}])
"""


LEFT_BEHIND = """
import os, pathlib, socket, sys

session = pathlib.Path(os.environ["TMPDIR"], f"ompi.{os.getpid()}")
first = session.with_name("first")
if first.exists():
    first.unlink()
    session.mkdir()
    (session / f"pmix.{socket.gethostname()}.tool").touch()
os.execv(sys.argv[1], sys.argv[1:])
"""


def on_ranks(tmp_path: Path, body: str, **variables: str) -> subprocess.CompletedProcess:
    """Two ranks of `slhmc run` with a simulation whose run has this body."""
    script = tmp_path / "script.py"
    script.write_text(FAKE.format(body=body, card=str(CARD), directory=str(tmp_path)))
    return run_ranks(2, [str(script)], {"PYTHONPATH": str(ROOT)} | variables, timeout=60)


def own_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("slhmc: ")]


def test_an_error_of_one_rank_ends_all(tmp_path):
    result = on_ranks(tmp_path, "rank or MPI.COMM_WORLD.Barrier(); raise SolverNotConverged('here')")
    assert result.returncode == 3
    assert own_lines(result.stderr) == ["slhmc: rank 1: here"]


def test_what_a_killed_mpiexec_has_left_stops_no_other(tmp_path, monkeypatch, capfd):
    """Open MPI names its directory by its process id, which the next mpiexec has here, too, the first time."""
    left_behind = tmp_path / "left_behind.py"
    left_behind.write_text(LEFT_BEHIND)
    command = mpi_command(2, ["-c", "print('rank')"])
    monkeypatch.setattr(launch, "mpi_command", lambda *_: [sys.executable, str(left_behind), *command])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for start in (lambda: run_ranks(2, [], timeout=60).returncode, lambda: launch.launch_ranks(2, ["status"])):
        (tmp_path / "first").touch()
        assert start() == 0 and not (tmp_path / "first").exists()
    told = capfd.readouterr()
    assert told.out.split() == ["rank", "rank"] and told.err.count("slhmc: mpiexec could not start; once more") == 1


def test_ranks_that_take_too_long_end_with_their_mpiexec(tmp_path):
    body = "import os, time; open(str(os.getpid()), 'w').close(); time.sleep(60)"
    with pytest.raises(subprocess.TimeoutExpired):
        run_ranks(2, ["-c", f"import os; os.chdir({str(tmp_path)!r}); {body}"], timeout=15)
    ranks = [Path("/proc") / path.name for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 30
    while any(rank.exists() for rank in ranks) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(ranks) == 2 and not any(rank.exists() for rank in ranks)


def test_an_error_of_all_ranks_is_told_once(tmp_path):
    result = on_ranks(tmp_path, "raise SolverNotConverged('everywhere')")
    assert result.returncode == 3
    assert own_lines(result.stderr) == ["slhmc: everywhere"]


def test_an_early_stop_of_all_ranks_is_exit_code_75(tmp_path):
    result = on_ranks(tmp_path, "print('one voice'); return False")
    assert result.returncode == 75
    assert result.stdout.splitlines() == ["one voice"] and "MPI_ABORT" not in result.stderr
    (line,) = own_lines(result.stderr)
    assert line.endswith(f"continue with: slhmc resume {tmp_path}")


def test_a_world_of_the_wrong_size_ends(tmp_path):
    result = on_ranks(tmp_path, "return True", SLHMC_RANKS="4")
    assert result.returncode == 2
    assert own_lines(result.stderr)[0].startswith("slhmc: the number of MPI ranks is 2, but SLHMC_RANKS = 4")


def test_launch_hands_arguments_to_the_ranks_and_returns_their_code(tmp_path):
    command = [sys.executable, "-m", "slhmc", "launch", "-n", "2", "card", "check", str(CARD), "--set"]
    for override, code in (("gauge.beta=2", 0), ("gauge.beta=-2", 2)):
        result = subprocess.run([*command, override], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == code
        assert result.stdout == (f"{CARD}: valid\n" if code == 0 else "")
    assert own_lines(result.stderr) == ["slhmc: --set gauge.beta=-2: must be greater than 0, found -2"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_signals_reach_the_ranks_as_usr1(tmp_path, number):
    child = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(30)\n"
    )
    parent = (
        "import os, sys\nfrom slhmc.cli.launch import run_forwarding\n"
        f"sys.exit(run_forwarding([sys.executable, '-c', {child!r}], dict(os.environ)))"
    )
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment)
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == 75
