"""Signals and kills from outside: what they cost, and that nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from running import (
    ROOT,
    STOPPED_EARLY,
    assert_same_chain,
    card_file,
    card_of,
    command_line,
    contents,
    final_links,
    run_card,
    sets,
    slhmc_command,
    stop_after,
)

from slhmc import simulation
from slhmc.cli import chain
from slhmc.errors import InputError
from slhmc.io import EnsembleFile, RunDirectory
from slhmc.runcard import card_text

SECONDS = 60
ENDLESS = sets("run.trajectories=100000", "run.checkpoint_every=5")


def start_process(directory, *arguments):
    """`slhmc` at work on its own; its lines are thrown away."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(command_line(*arguments), stdout=null, stderr=null, cwd=ROOT)
    deadline = time.monotonic() + SECONDS
    while not (directory / "status.json").exists():  # written after the first trajectory
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_ends_a_process_with_a_checkpoint(tmp_path, number):
    card, run = card_file(tmp_path), tmp_path / "run"
    process = start_process(run, "run", card, "-o", run, *ENDLESS)
    process.send_signal(number)
    assert process.wait(SECONDS) == STOPPED_EARLY
    stopped = final_links(run)[1]
    assert stopped > 0
    assert slhmc_command("resume", run, "--trajectories", stopped) == 0  # three more: thermalization does not count
    assert_same_chain(run, run_card(tmp_path / "whole", f"run.trajectories={stopped}"))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_signal_before_anything_is_imported_waits(tmp_path, monkeypatch, uninterrupted, command, number):
    """From the first line of a command on; where the card is faulty, its words and exit code are what is told."""
    run = tmp_path / "run"
    if command == "resume":
        assert not simulation.create(card_of(), run).run(stop_after(2))

    def first(function):
        def with_signal(*arguments):
            os.kill(os.getpid(), number)
            return function(*arguments)
        return with_signal
    for name in ("load_card", "_is_scalar"):
        monkeypatch.setattr(chain, name, first(getattr(chain, name)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), [signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGTERM)]
    arguments = ("run", card_file(tmp_path), "-o", run) if command == "run" else ("resume", run)
    assert slhmc_command(*arguments) == STOPPED_EARLY
    assert final_links(run)[1] == (0 if command == "run" else 2)
    assert slhmc_command(*arguments[:1], tmp_path / "nowhere.toml") == 2
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            [signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGTERM)]) == before and not signal.sigpending()


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_signal_before_the_first_trajectory_waits_for_it(tmp_path, monkeypatch, capsys, uninterrupted, command):
    """While kernels are compiled, with no run yet to stop; a signal to all of the process group spares the compiler."""
    card, run, made = card_file(tmp_path), tmp_path / "run", simulation.simulation.make_lattice

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        compiler = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGUSR1)"
        subprocess.run([sys.executable, "-c", compiler], check=True)
        return made(*arguments)

    if command == "resume":
        assert not simulation.create(card_of(), run).run(stop_after(4))
    with monkeypatch.context() as patch:
        patch.setattr(simulation.simulation, "make_lattice", interrupted)
        arguments = ("run", card, "-o", run) if command == "run" else ("resume", run)
        assert slhmc_command(*arguments) == STOPPED_EARLY
    assert "continue with: slhmc resume" in capsys.readouterr().err
    assert final_links(run)[1] == (4 if command == "resume" else 0)
    assert RunDirectory(run).read_status()["state"] == "stopped"
    assert simulation.resume(run).run()
    assert_same_chain(run, uninterrupted)


def test_kills_at_any_moment_lose_only_trajectories_since_the_checkpoint(tmp_path):
    card, run, moments = card_file(tmp_path), tmp_path / "run", random.Random(1)
    process = start_process(run, "run", card, "-o", run, *ENDLESS)
    last = 0
    for _ in range(5):
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.wait(SECONDS)
        reached = final_links(run)[1]
        assert reached >= last
        last = reached
        (run / "status.json").unlink()  # its return shows that the next process is at work
        process = start_process(run, "resume", run)
    process.kill()
    process.wait(SECONDS)
    total = final_links(run)[1] + 5
    assert slhmc_command("resume", run, "--trajectories", total - 3) == 0
    assert_same_chain(run, run_card(tmp_path / "whole", f"run.trajectories={total - 3}"))
    assert not list(run.rglob("*.slhmc-tmp"))


def test_a_run_killed_before_its_first_checkpoint_starts_anew(tmp_path, uninterrupted):
    """After card.toml, and between the first chain.h5 and checkpoint.h5."""
    run, text = tmp_path / "run", card_text(card_of())
    RunDirectory(run).create(text).close()
    assert simulation.resume(run).run()
    assert_same_chain(run, uninterrupted)
    run = tmp_path / "later"
    RunDirectory(run).create(text).close()
    EnsembleFile.create(run / "chain.h5", text, "0").flush()
    assert simulation.resume(run).run()
    assert_same_chain(run, uninterrupted)


def test_a_lost_checkpoint_does_not_cost_the_chain(tmp_path):
    run = run_card(tmp_path, "run.trajectories=2")
    (run / "checkpoint.h5").unlink()
    before = contents(run)
    with pytest.raises(InputError, match=r"checkpoint.h5: missing, .* 5 trajectories; restore a copy"):
        simulation.resume(run)
    after = contents(run)
    assert after == before
