"""The commands of README, typed one after the other in one folder, as a reader would; long ones shortened."""

import io
import re
import shlex
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from running import ROOT, run_process, sets, slhmc_command

from slhmc import __version__
from slhmc.io import EnsembleFile, MeasurementFile

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

LINES = [line for block in re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
         for line in block.splitlines()]
# Lines with these words are not typed here
LEFT_OUT = {
    "scripts/quickstart": "installs packages from the network",
    "scripts/test": "installs packages from the network",
    "pip install": "installs packages from the network",
    "slhmc submit": "needs a scheduler; tests/test_batch*.py",
    "slhmc status runs/b50": "is about jobs of a scheduler",
    "slhmc cancel": "is about jobs of a scheduler",
    "--device cuda": "needs a GPU",
    "scripts/gpu_check": "needs a GPU",
}
# What is added to a line that has this in it: the same work, less of it
SHORTER = {
    "slhmc train run_cards/su2_staggered_train.toml": (
        "run.thermalization=20", "train.steps=2", "train.batch=4", "train.held_out=8", "train.report_every=1"),
    "-o runs/guided": ("run.thermalization=50", "run.trajectories=150"),
    "-o runs/loop": ("data.betas=[2.0]", "data.training=8", "data.validation=4", "data.test=4", "data.test_extents=[[8, 8]]",
                     "data.thermalization=10", "fit.batch=4", "fit.epochs=2"),
    "-o runs/plane": ("run.trajectories=1000",),
    "-o runs/learned": ("data.betas=[4.0]", "data.training=8", "data.validation=4", "data.test=4", "data.test_extents=[[8, 8]]",
                        "data.test_betas=[]", "data.thermalization=10", "fit.batch=4", "fit.epochs=2"),
    "run_cards/su3_staggered_nf4_hmc.toml": ("lattice.extent=[4, 4, 4, 4]", "run.thermalization=0", "run.trajectories=2"),
}


def on_ranks(line):
    """Whether it is for MPI ranks."""
    return line.startswith(("mpiexec", "slhmc launch"))


def left_out(line):
    """Whether a word of LEFT_OUT is in it."""
    return any(words in line for words in LEFT_OUT)


def words_of(line):
    """The words after `slhmc`, with what shortens them. `mpiexec -n N slhmc` is `launch -n N`: Open MPI alone refuses more ranks
    than cores."""
    words = shlex.split(line)
    words = ["launch", *(word for word in words[1:] if word != "slhmc")] if words[0] == "mpiexec" else words[1:]
    return words + sets(*(override for piece, overrides in SHORTER.items() if piece in line for override in overrides))


def typed(line):
    """Run a line where we are; its exit code and what it said of errors."""
    if line.startswith("mkdir "):
        Path(line.removeprefix("mkdir ")).mkdir()
        return 0, ""
    if on_ranks(line):
        result = run_process(*words_of(line), timeout=240)
        return result.returncode, result.stderr
    told = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(told):
        code = slhmc_command(*words_of(line))
    return code, told.getvalue()


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """(a folder in which the lines for one process were typed, the exit code and words of each line)."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "run_cards").symlink_to(ROOT / "run_cards")
    with chdir(folder):
        return folder, {line: typed(line) for line in LINES if not left_out(line) and not on_ranks(line)}


def test_what_is_left_out_or_shortened_is_in_the_readme():
    for piece in (*LEFT_OUT, *SHORTER):
        assert any(piece in line for line in LINES), piece


@pytest.mark.timeout(900)  # the fixture may have to compile kernels beside other tests
def test_the_commands_work_in_their_order(played):
    folder, outcomes = played
    assert len(outcomes) > 20
    for line, (code, told) in outcomes.items():
        assert code == 0, f"{line}: {told}"
    plain, guided = (EnsembleFile.open(folder / "runs" / name / "chain.h5") for name in ("plain", "guided"))
    assert (~plain.records["thermalization"]).sum() == 500 and guided.guide
    measured = MeasurementFile.open(folder / "runs" / "plain" / "measure.h5", __version__)
    assert set(measured.names) == {"mesons", "gradient_flow", "static_potential"}
    for name in ("runs/plain/pion.png", "runs/plain/flow.png", "campaign.html", "compare.html", "plain.json", "plain.ildg"):
        assert (folder / name).stat().st_size > 1000, name


@pytest.mark.mpi
def test_the_commands_for_ranks_work_behind_them(played, monkeypatch):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    monkeypatch.chdir(played[0])
    lines = [line for line in LINES if on_ranks(line) and not left_out(line)]
    assert len(lines) == 4
    for line in lines:
        code, told = typed(line)
        assert code == 0, f"{line}: {told}"
