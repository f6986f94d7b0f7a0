"""The command line: what is printed where, exit codes, and that help needs no numerics. Physics is played by a fake."""

import io
import json
import logging
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import typer

import slhmc
from slhmc.cli import doctor, launch, main, progress, ranks, summary
from slhmc.cli.app import app
from slhmc.cli.status import status_line
from slhmc.cli.terminal import on_terminal
from slhmc.errors import ComputationError, InputError, SolverNotConverged
from slhmc.runcard import card_text, load_card

ROOT = Path(__file__).parents[1]
CARD = ROOT / "run_cards" / "su2_staggered_hmc.toml"
MPI_VARIABLES = (
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS", "SLURM_JOB_ID", "SLURM_NTASKS", "SLHMC_RANKS", "SLHMC_DEBUG",
)
REPORT = SimpleNamespace(
    trajectory=7, total=5200, thermalization=True, delta_h=-0.0123, accepted=True, acceptance=0.9312,
    plaquette=0.7025123, seconds=0.0051, eta_seconds=26.4,
)
SUMMARY = {
    "version": "0", "trajectories": 5000, "thermalization": 200, "acceptance": 0.93,
    "exp_minus_delta_h": {"mean": 1.0003, "error": 0.0012, "tau_int": 0.5, "tau_int_error": 0.01},
    "seconds_per_trajectory": 0.0051, "iterations_per_trajectory": 812.25, "cost_per_independent_configuration": 0.02,
    "observables": {
        "plaquette": {"mean": 0.70252, "error": 0.0001, "tau_int": 1.2, "tau_int_error": 0.1},
        "polyakov_loop_modulus_t": {"mean": 0.4123, "error": 0.0042, "tau_int": 2.2, "tau_int_error": 0.3, "every": 5},
        "chiral_condensate": {"mean": 0.4, "error": None, "tau_int": None, "tau_int_error": None, "note": "too short"},
    },
}


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    for name in MPI_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def simulation(monkeypatch):
    """A simulation that does one trajectory and ends as its attribute `outcome` says."""
    module = ModuleType("slhmc.simulation")
    module.outcome, module.calls, module.StopRequest = True, [], nullcontext

    def run(observer, stop):
        if isinstance(module.outcome, BaseException):
            raise module.outcome
        observer(REPORT)
        return module.outcome

    def record(name):
        def call(*arguments, **options):
            module.calls.append((name, arguments, options))
            return SimpleNamespace(run=run)

        return call

    module.create, module.resume, module.build = map(record, ("create", "resume", "build"))
    monkeypatch.setitem(sys.modules, "slhmc.simulation", module)
    monkeypatch.setattr(slhmc, "simulation", module, raising=False)
    return module


@pytest.fixture
def run_directory(tmp_path, monkeypatch):
    """A directory with a card, whose summary is SUMMARY."""
    monkeypatch.setattr("slhmc.analysis.summarise", lambda directory: SUMMARY)
    (tmp_path / "card.toml").write_text(card_text(load_card(CARD)))
    return tmp_path


def slhmc_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_help_is_fast_because_it_imports_no_numerics():
    code = """
import sys
from slhmc.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    heavy = {"numpy", "scipy", "h5py", "mpi4py", "torch", "cupy", "pydantic", "matplotlib"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy or stop.code else 0)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    commands = ("run", "train", "resume", "summary", "status", "bench", "build", "doctor", "launch", "card")
    assert all(f" {command} " in result.stdout for command in commands)


def test_no_bracket_of_a_help_is_taken_for_markup(capsys, monkeypatch):
    """As `[measure]` would be; what is escaped shows no backslash."""
    monkeypatch.setenv("COLUMNS", "300")
    root = typer.main.get_command(app)
    commands = {(): root} | {(name,): command for name, command in root.commands.items()}
    commands |= {("card", name): command for name, command in root.commands["card"].commands.items()}
    told = {}
    for names, command in commands.items():
        assert slhmc_command(*names, "--help") == 0
        shown = capsys.readouterr().out
        words = " ".join([command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)])
        told[names] = re.findall(r"\[[a-z.]+\]", words.replace("\\", ""))
        assert all(shown.count(word) >= told[names].count(word) for word in told[names]) and "\\[" not in shown, names
    assert sorted(told["measure",]) == ["[lattice]", "[measure]", "[measure]", "[solver]"]


def test_the_package_is_the_command():
    command = [sys.executable, "-m", "slhmc", "--version"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, f"slhmc {slhmc.__version__}\n")


def test_without_a_command_the_help_is_shown(capsys):
    assert slhmc_command() == 0
    assert "Usage: slhmc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "slhmc: Missing argument 'CARD'; see slhmc run --help\n"),
        (["run", "--frob", "x"], "slhmc: No such option: --frob"),
        (["rnu"], "slhmc: No such command 'rnu'"),
        (["card"], "slhmc: Missing command; see slhmc card --help\n"),
        (["run", CARD, "--device", "tpu"], "slhmc: Invalid value for '--device'"),
        (["run", "nothing.toml"], "slhmc: nothing.toml: cannot read the run card: no such file or directory\n"),
        (["summary", "nothing"], "slhmc: nothing: no chain.h5 found"),
        (["status", "nothing"], "slhmc: nothing"),
        (["launch", "-n", "2"], "slhmc: nothing to launch; for example: slhmc launch -n 4 run CARD\n"),
        (["launch", "-n", "0", "run"], "slhmc: Invalid value for '-n'"),
    ],
)
def test_wrong_input_gives_a_message_and_exit_code_2(arguments, words, capsys):
    assert slhmc_command(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(words) and "Traceback" not in captured.err and captured.out == ""


def test_run_makes_the_simulation_of_the_card(simulation, run_directory, capsys):
    assert slhmc_command("run", CARD, "-o", run_directory, "--set", "gauge.beta=2", "--device", "cuda") == 0
    ((name, (card, directory), options),) = simulation.calls
    assert (name, directory, card.gauge.beta) == ("create", run_directory, 2.0)
    assert options == {"device": "cuda", "communicator": None}
    out = capsys.readouterr().out
    assert out.index("trajectory    7/5200") < out.index("0.7025(1)")


def test_a_run_goes_by_default_to_a_directory_named_after_the_card(simulation, run_directory):
    simulation.outcome = False
    assert slhmc_command("run", CARD) == 75
    assert simulation.calls[0][1][1] == Path("runs/su2_staggered_hmc")


def test_resume_continues_a_directory(simulation, run_directory):
    assert slhmc_command("resume", run_directory, "--trajectories", 9, "--set", "run.save_every=3") == 0
    options = {"device": "cpu", "communicator": None, "overrides": ["run.save_every=3", "run.trajectories=9"]}
    assert simulation.calls == [("resume", (run_directory,), options)]


def test_build_compiles_for_each_card(simulation):
    assert slhmc_command("build", CARD, CARD) == 0
    assert [call[0] for call in simulation.calls] == ["build", "build"]


def test_an_early_stop_says_how_to_go_on(simulation, tmp_path, capsys):
    simulation.outcome = False
    assert slhmc_command("run", CARD, "-o", tmp_path) == 75
    assert f"continue with: slhmc resume {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("a\nb"), 2), (SolverNotConverged("a\nb"), 3), (ComputationError("a\nb"), 3)],
)
def test_errors_of_the_engine_become_messages_and_exit_codes(simulation, tmp_path, capsys, monkeypatch, error, code):
    simulation.outcome = error
    assert slhmc_command("run", CARD, "-o", tmp_path) == code
    assert capsys.readouterr().err == "slhmc: a\nslhmc: b\n"
    monkeypatch.setenv("SLHMC_DEBUG", "1")
    assert slhmc_command("run", CARD, "-o", tmp_path) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_shows_its_traceback(simulation, tmp_path, capsys):
    simulation.outcome = ZeroDivisionError("oops")
    assert slhmc_command("run", CARD, "-o", tmp_path) == 3
    error = capsys.readouterr().err
    assert "Traceback" in error and error.endswith("slhmc: internal error: ZeroDivisionError: oops\n")


def test_an_interrupt_is_no_traceback(simulation, tmp_path, capsys):
    simulation.outcome = KeyboardInterrupt()
    assert slhmc_command("run", CARD, "-o", tmp_path) == 130
    assert capsys.readouterr().err == "slhmc: interrupted\n"


def test_a_failing_disk_is_told_by_its_file(simulation, tmp_path, capsys):
    simulation.outcome = PermissionError(13, "Permission denied", "x/chain.h5")
    assert slhmc_command("run", CARD, "-o", tmp_path) == 2
    assert capsys.readouterr().err == "slhmc: x/chain.h5: Permission denied\n"


def test_card_check_and_schema(tmp_path, capsys):
    assert slhmc_command("card", "check", CARD) == 0
    assert capsys.readouterr().out == f"{CARD}: valid\n"
    (tmp_path / "bad.toml").write_text(CARD.read_text().replace("beta", "betta").replace("mass", "mas"))
    assert slhmc_command("card", "check", tmp_path / "bad.toml") == 2
    assert len(capsys.readouterr().err.splitlines()) == 4
    assert slhmc_command("card", "schema") == 0
    assert json.loads(capsys.readouterr().out)["else"]["else"]["title"] == "RunCard"


def test_bench_hands_its_options_on(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "slhmc.bench", SimpleNamespace(main=lambda **options: calls.append(options)))
    for arguments in ([], ["--json"], ["--json", "a.json", "--quick"]):
        assert slhmc_command("bench", *arguments) == 0
    assert [call["json_file"] for call in calls] == [None, "-", "a.json"]
    assert calls[2] == {"device": "cpu", "quick": True, "json_file": "a.json"}


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.70252, 0.0003, "0.7025(3)"), (0.702523, 0.00012, "0.70252(12)"), (0.7025, 0.0001, "0.7025(1)"),
        (0.82, 0.01, "0.82(1)"), (0.41, 0.005, "0.410(5)"), (12.34, 1.24, "12.3(1.2)"), (12.34, 2.6, "12(3)"),
        (1234.0, 23.0, "1230(20)"), (0.5, 0.0, "0.5(0)"), (0.6, None, "0.6"), (0.6, float("nan"), "0.6"),
        (None, None, "-"), (float("nan"), 0.1, "-"), (0.99, 0.00096, "0.9900(10)"), (-1.0, 0.0099, "-1.000(10)"),
        (1e-9, 2.3e-11, "0.00000000100(2)"), (5.0, 9.6, "5(10)"), (0.5, 0.96, "0.5(1.0)"),
    ],
)
def test_parenthesis_notation(value, error, words):
    assert summary.parenthesis(value, error) == words


def test_summary_shows_values_beside_published_ones(run_directory, capsys):
    assert slhmc_command("summary", run_directory) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
    assert rows["plaquette"] == ["0.7025(1)", "1.2(1)", "0.7025(1)", "+0.1"]
    assert rows["polyakov_loop_modulus_t"] == ["0.412(4)", "11.0(1.5)"] and "tau_int/traj." in out
    assert rows["chiral_condensate"] == ["0.4", "-", "0.4245(5)", "-"]
    assert rows["polyakov_loop_t"] == ["-", "-", "0.410(5)", "-"]
    assert rows["<exp(-dH)>"] == ["1.0003(12)"] and rows["acceptance"] == ["0.9300"]
    assert "published: arXiv:2103.11965" in out and "chiral_condensate: too short" in out
    table = out[out.index("observable ") : out.index("published: ")]
    assert max(map(len, table.splitlines())) <= 80 and "\x1b" not in out and "…" not in out


def test_summary_without_reference_has_no_columns_for_it(run_directory, capsys):
    (run_directory / "card.toml").write_text((ROOT / "run_cards" / "su3_pure_gauge_hmc.toml").read_text())
    assert slhmc_command("summary", run_directory) == 0
    out = capsys.readouterr().out
    assert "published" not in out and "SU(3), 8x8x8x8, wilson beta 6, no quarks" in out


def test_summary_json_is_strict_json(run_directory, capsys, monkeypatch):
    monkeypatch.setattr("slhmc.analysis.summarise", lambda directory: SUMMARY | {"acceptance": float("nan")})
    assert slhmc_command("summary", run_directory, "--json") == 0
    assert json.loads(capsys.readouterr().out) == SUMMARY | {"acceptance": None}


def test_a_summary_of_a_real_chain_can_be_printed(tmp_path, capsys):
    from slhmc.io import EnsembleFile

    text = card_text(load_card(CARD))
    (tmp_path / "card.toml").write_text(text)
    chain = EnsembleFile.create(tmp_path / "chain.h5", text, "0.1.0")
    for trajectory in range(1, 30):
        chain.append({"trajectory": trajectory, "accepted": True, "delta_h": 0.1 * (-1) ** trajectory, "iterations": 9,
                      "seconds": 0.01, "thermalization": trajectory < 5})
        chain.append_observable("plaquette", trajectory, 0.7 + 0.001 * (trajectory * 7 % 5))
    chain.flush()
    assert slhmc_command("summary", tmp_path) == 0
    assert "25 after 4 of thermalization" in capsys.readouterr().out


def test_status_has_one_line_for_each_run(tmp_path, capsys):
    """Of one run in words, of several in a table; --json has all that is known."""
    from slhmc.io import RunDirectory

    RunDirectory(tmp_path).write_status({"state": "running", "trajectory": 7, "total": 20, "acceptance": 0.5})
    assert slhmc_command("status", tmp_path) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}: running  trajectory 7/20  acceptance 0.500  (written 0:00:0")
    other = tmp_path / "other"
    other.mkdir()
    RunDirectory(other).write_status({"state": "failed", "trajectory": 3, "total": 20, "error": "first\nsecond"})
    assert slhmc_command("status", tmp_path, other, tmp_path / "none") == 2
    captured = capsys.readouterr()
    heading, *rows = [line.split() for line in captured.out.splitlines()]
    assert heading == ["run", "queue", "state", "done", "acceptance", "ETA", "written"]
    assert rows[0][:6] == [str(tmp_path), "-", "running", "trajectory", "7/20", "0.500"]
    assert rows[1][:6] == [str(other), "-", "failed", "trajectory", "3/20", "-"] and rows[1][-2:] == ["error:", "first"]
    assert str(tmp_path / "none") in captured.err
    assert slhmc_command("status", other, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["directory"], told["status"]["error"], told["jobs"]) == (str(other), "first\nsecond", [])
    assert status_line({"state": "failed", "error": "first\nsecond"}, 1.0) == "failed  error: first  (written 0:00:01 ago)"
    assert status_line({}, 61.0) == "unknown state  (written 0:01:01 ago)"


def test_a_trajectory_in_words():
    assert progress.trajectory_line(REPORT) == (
        "trajectory    7/5200  dH -1.230e-02  accepted  acceptance 0.931  plaquette 0.702512  0.0051 s  ETA 0:00:26  "
        "thermalization"
    )
    assert [progress.duration(value) for value in (None, float("inf"), float("nan"), 90061)] == [
        "-", "-", "-", "1 day, 1:01:01"]
    assert [progress.duration(value) for value in (1e15, 10**400)] == ["over 100 years"] * 2


def test_a_terminal_gets_a_live_line(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress.progress() as observer:
        observer(REPORT)
        observer(SimpleNamespace(**vars(REPORT) | {"trajectory": 5200, "thermalization": False}))
    shown = terminal.getvalue()
    monkeypatch.setenv("PMIX_RANK", "0")
    assert not on_terminal(), "Open MPI gives ranks a terminal that nobody watches"
    monkeypatch.setenv("SLHMC_TERMINAL", "1")
    assert on_terminal()
    assert "sampling" in shown and "5200/5200" in shown and "plaq 0.70251" in shown and "ETA 0:00:26" in shown


def test_a_closed_pipe_does_not_end_the_chain(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.progress() as observer:
        observer(REPORT)
        observer(REPORT)
    assert sys.stderr.getvalue() == "" and logging.getLogger("slhmc.progress").handlers == []


def test_doctor_finds_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doctor, "_mpi", lambda: doctor.Finding(True, "MPI"))
    monkeypatch.setenv("SLHMC_CACHE_DIR", str(tmp_path / "cache"))
    assert slhmc_command("doctor") == 0
    out = capsys.readouterr().out
    assert f"ok        kernel cache {tmp_path / 'cache'}" in out and "ok        compiler" in out
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLHMC_CACHE_DIR", str(tmp_path / "file"))
    assert slhmc_command("doctor") == 2
    assert "missing   kernel cache" in capsys.readouterr().out


def test_mpiexec_is_that_of_this_python_first(monkeypatch, tmp_path):
    for folder in ("environment", "path"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "environment" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    with pytest.raises(InputError, match="no mpiexec beside this Python or on PATH"):
        launch.mpiexec()
    for folder in ("path", "environment"):
        (tmp_path / folder / "mpiexec").touch(mode=0o755)
        assert launch.mpiexec() == str(tmp_path / folder / "mpiexec")


def test_the_launcher_keeps_settings_of_the_site(monkeypatch):
    monkeypatch.setenv("PRTE_MCA_hwloc_default_binding_policy", "core")
    environment = launch.mpi_environment(4)
    assert environment["PRTE_MCA_hwloc_default_binding_policy"] == "core" and environment["SLHMC_RANKS"] == "4"
    assert environment["PRTE_MCA_rmaps_default_mapping_policy"] == ":oversubscribe"


@pytest.mark.parametrize(
    ("variables", "rank", "launched"),
    [
        ({}, 0, False),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, 3, True),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, 1, True),
        ({"SLURM_JOB_ID": "9", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, 0, False),
        ({"SLURM_JOB_ID": "9", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, 1, True),
    ],
)
def test_launchers_are_known_by_their_environment(monkeypatch, variables, rank, launched):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (ranks.rank(), ranks.launched()) == (rank, launched)


def test_a_world_of_the_wrong_size_is_refused(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert ranks.world() is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(InputError, match="number of MPI ranks is 1, but SLURM_NTASKS = 4.*set SLHMC_RANKS=1"):
        ranks.world()
    monkeypatch.setenv("SLHMC_RANKS", "1")
    assert ranks.world() is None
    monkeypatch.setenv("SLHMC_RANKS", "0")
    with pytest.raises(InputError, match="SLHMC_RANKS is 0, expected a number of ranks, 1 or more"):
        ranks.world()
    monkeypatch.setenv("SLHMC_RANKS", "many")
    with pytest.raises(InputError, match="SLHMC_RANKS is 'many', expected a number of ranks"):
        ranks.world()
