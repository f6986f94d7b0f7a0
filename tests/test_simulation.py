"""Whole runs: what interrupts them loses nothing, what is written can be read, what cannot go on stops in words."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from running import (
    CARD,
    ROOT,
    assert_same_chain,
    card_file,
    card_of,
    command_line,
    contents,
    final_links,
    sets,
    slhmc_command,
)

from slhmc import simulation
from slhmc.errors import ComputationError, InputError
from slhmc.io import EnsembleFile, RunDirectory, load_links
from slhmc.runcard import card_text, parse_card

STOPPED_EARLY = 75
SECONDS = 60
HEAT_BATH_CARD = CARD[:CARD.index("[[quarks]]")] + "[heat_bath]\n" + CARD[CARD.index("[run]"):CARD.index("[measure.chiral")]


def run_card(directory, *overrides, observer=None):
    """Run CARD to its end; the directory."""
    assert simulation.create(card_of(*overrides), directory).run(observer)
    return directory


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """CARD run in one go."""
    return run_card(tmp_path_factory.mktemp("uninterrupted") / "run")


def stop_after(*trajectories):
    """An observer that sends this process USR1 after these trajectories."""
    return lambda report: report.trajectory in trajectories and os.kill(os.getpid(), signal.SIGUSR1)


# ---- interrupted is uninterrupted
@pytest.mark.parametrize("moments", [(1,), (3,), (4, 5), tuple(range(1, 12))], ids=str)
def test_a_stopped_and_resumed_run_is_the_same_run(tmp_path, uninterrupted, moments):
    """In thermalization, at its end, at a checkpoint and after it, after every trajectory."""
    observer = stop_after(*moments)
    assert not simulation.create(card_of(), tmp_path).run(observer)
    for _ in moments[1:]:
        assert not simulation.resume(tmp_path).run(observer)
    assert final_links(tmp_path)[1] == moments[-1]
    assert simulation.resume(tmp_path).run(observer)
    assert_same_chain(tmp_path, uninterrupted)


def test_a_stop_after_the_last_trajectory_is_an_end(tmp_path, uninterrupted):
    run_card(tmp_path, observer=stop_after(12))
    assert_same_chain(tmp_path, uninterrupted)


def test_the_time_limit_stops_with_a_checkpoint(tmp_path, uninterrupted):
    """A trajectory that would end after the limit is not begun; each session has the limit for itself."""
    (tmp_path / "card").mkdir()
    card = card_file(tmp_path / "card")
    assert slhmc_command("run", card, "-o", tmp_path / "run", *sets("run.time_limit=1e-9")) == STOPPED_EARLY
    assert final_links(tmp_path / "run")[1] == 1
    for trajectory in range(2, 12):
        assert slhmc_command("resume", tmp_path / "run") == STOPPED_EARLY
        assert final_links(tmp_path / "run")[1] == trajectory
    assert slhmc_command("resume", tmp_path / "run") == 0
    assert_same_chain(tmp_path / "run", uninterrupted)


def test_a_heat_bath_goes_on_where_it_stopped(tmp_path):
    card = parse_card(HEAT_BATH_CARD, "card.toml")
    assert simulation.create(card, tmp_path / "whole").run()
    assert not simulation.create(card, tmp_path / "parts").run(stop_after(5))
    assert simulation.resume(tmp_path / "parts").run()
    assert_same_chain(tmp_path / "parts", tmp_path / "whole")
    assert EnsembleFile.open(tmp_path / "whole" / "chain.h5").records["accepted"].all()


def test_chronological_starts_do_not_remember_the_session(tmp_path):
    overrides = ("solver.start=chronological", "run.start=hot")
    whole = run_card(tmp_path / "whole", *overrides)
    assert not simulation.create(card_of(*overrides), tmp_path / "parts").run(stop_after(6))
    assert simulation.resume(tmp_path / "parts").run()
    assert_same_chain(tmp_path / "parts", whole)


def test_resume_with_more_trajectories_extends_a_finished_run(tmp_path, uninterrupted):
    run_card(tmp_path / "run", "run.trajectories=4")
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", 9) == 0
    assert_same_chain(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("early", [True, False])
def test_the_extended_length_outlives_a_stop(tmp_path, uninterrupted, early):
    """Even one before the first trajectory."""
    run_card(tmp_path, "run.trajectories=4")
    resumed = simulation.resume(tmp_path, trajectories=9)
    with simulation.StopRequest() as stop:
        if early:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert not resumed.run(stop_after(9), stop)
    assert final_links(tmp_path)[1] == (7 if early else 9)
    assert simulation.resume(tmp_path).run()
    assert_same_chain(tmp_path, uninterrupted)


def test_a_card_edited_in_what_may_change_goes_on(tmp_path, uninterrupted):
    """Its new length counts, once: a later --trajectories outlives stops as before."""
    run_card(tmp_path, "run.trajectories=2", "measure.rectangle.every=1")
    (tmp_path / "card.toml").write_text(card_text(card_of(
        "run.trajectories=6", "run.checkpoint_every=5", "run.time_limit=1e4", "run.max_delta_h=99", "lattice.lanes=2",
        "lattice.ranks=[1,1]", "measure.rectangle.every=3", "run.save_every=2", "reference.source=a paper")))
    assert simulation.resume(tmp_path).run()
    assert final_links(tmp_path)[1] == 9
    assert not simulation.resume(tmp_path, trajectories=9).run(stop_after(10))
    assert simulation.resume(tmp_path).run()
    chain, whole = (EnsembleFile.open(run / "chain.h5") for run in (tmp_path, uninterrupted))
    assert list(chain.observables["rectangle"][0]) == [1, 2, 3, 4, 5, 6, 9, 12]
    np.testing.assert_allclose(final_links(tmp_path)[0], final_links(uninterrupted)[0], atol=1e-9)
    np.testing.assert_allclose(chain.records["delta_h"], whole.records["delta_h"], atol=1e-8)


@pytest.mark.parametrize(("passed", "slow", "last"), [(0, 0, 12), (100, 0, 1), (60, 0, 12), (60, 25, 1)])
def test_the_time_limit_counts_from_the_start_and_leaves_time_for_checkpoints(tmp_path, monkeypatch, passed, slow, last):
    """`passed` seconds before the first trajectory; `slow` seconds for a checkpoint."""
    clock = simulation.simulation.time.monotonic
    offset = [0]
    monkeypatch.setattr(simulation.simulation.time, "monotonic", lambda: clock() + offset[0])
    save = simulation.simulation.save_checkpoint

    def save_slowly(*arguments):
        save(*arguments)
        offset[0] += slow

    monkeypatch.setattr(simulation.simulation, "save_checkpoint", save_slowly)
    for entered in (True, False):
        run = tmp_path / str(entered)
        with simulation.StopRequest() as stop:
            created = simulation.create(card_of("run.time_limit=100", "run.checkpoint_every=100"), run)
            offset[0] += passed - slow
            assert created.run(None, stop if entered else None) == (last == 12)
        assert final_links(run)[1] == last


# ---- signals and kills from outside
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


# ---- what a run writes
def test_kept_configurations_can_be_loaded_and_started_from(tmp_path, uninterrupted):
    run = run_card(tmp_path / "run", "run.save_every=4")
    assert_same_chain(run, uninterrupted)  # keeping changes nothing
    kept = sorted(path.name for path in (run / "configs").iterdir())
    assert kept == ["cfg_000004.h5", "cfg_000008.h5", "cfg_000012.h5"]
    links, attributes = load_links(run / "configs" / kept[2], (8, 8), 2)
    np.testing.assert_array_equal(links, final_links(run)[0])
    assert attributes["trajectory"] == 12
    path = run / "configs" / kept[1]
    new = simulation.create(card_of("run.start=file", f"run.start_file={path}"), tmp_path / "new")
    np.testing.assert_array_equal(final_links(tmp_path / "new")[0], load_links(path)[0])
    trajectories, values = EnsembleFile.open(run / "chain.h5").observables["plaquette"]
    started = new.observables[0][0].measure(new.U, None)
    assert started == values[list(trajectories).index(8)]
    new.close()


def test_nested_time_scales_and_several_masses(tmp_path):
    quark = '[[quarks]]\noperator = "staggered"\nmass = 3.0\n'
    text = CARD.replace("[hmc]", f"{quark}[hmc]").replace("beta = 2.0", "beta = 2.0\nlevel = 1").replace(
        "steps = 6", 'steps = 6\ninner = [{ scheme = "leapfrog", steps = 4 }]')
    assert slhmc_command("run", card_file(tmp_path, text), "-o", tmp_path / "run") == 0
    chain = EnsembleFile.open(tmp_path / "run" / "chain.h5")
    assert abs(chain.records["delta_h"]).max() < 2 and chain.records["accepted"].sum() > 6
    light, heavy = (chain.observables[name] for name in ("chiral_condensate", "chiral_condensate_2"))
    assert list(light[0]) == list(heavy[0]) == [3, 6, 9, 12] and light[1].shape == heavy[1].shape == (4, 2)
    # the trace of m / (m^2 + lambda^2) with a mean lambda^2 of exactly D / 2 = 1 lies between 2 m / (m^2 + 1) and 2 / m
    for mass, values in ((0.5, light[1]), (3.0, heavy[1])):
        assert 0.85 * 2 * mass / (mass**2 + 1) < values.mean() < 1.15 * 2 / mass


def test_observables_come_as_often_as_the_card_says(uninterrupted):
    chain = EnsembleFile.open(uninterrupted / "chain.h5")
    assert list(chain.records["trajectory"]) == list(range(1, 13))
    assert list(chain.records["thermalization"]) == [True] * 3 + [False] * 9
    measured = {name: list(trajectories) for name, (trajectories, _) in chain.observables.items()}
    every = {1: ("plaquette", "polyakov_loop"), 2: ("rectangle",), 3: ("chiral_condensate",)}
    assert measured == {name: list(range(n, 13, n)) for n, names in every.items() for name in names}


def test_summary_has_the_keys_that_scripts_rely_on(uninterrupted, capsys):
    assert slhmc_command("summary", uninterrupted, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trajectories"] == 9
    for key in ("acceptance", "seconds_per_trajectory", "iterations_per_trajectory", "version"):
        assert found[key] is not None
    assert "cost_per_independent_configuration" in found
    names = {"plaquette", "rectangle", "chiral_condensate"}
    names |= {f"polyakov_loop{part}_{direction}" for part in ("", "_modulus") for direction in "xt"}
    assert set(found["observables"]) == names
    for entry in (*found["observables"].values(), found["exp_minus_delta_h"]):
        assert {"mean", "error", "tau_int", "tau_int_error"} <= set(entry)


def test_status_tells_the_state_of_a_run(tmp_path, capsys):
    assert not simulation.create(card_of(), tmp_path).run(stop_after(5))
    assert slhmc_command("status", tmp_path) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}: stopped  trajectory 5/12")
    assert simulation.resume(tmp_path).run()
    assert slhmc_command("status", tmp_path) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}: done  trajectory 12/12")


# ---- what cannot go on
def test_a_runaway_stops_with_the_trajectory_number(tmp_path, capsys):
    """The checkpoint stays what it was, and the directory is free for the next try in the same process."""
    run_card(tmp_path / "run", "run.trajectories=1")
    text = (tmp_path / "run" / "card.toml").read_text()
    (tmp_path / "run" / "card.toml").write_text(card_text(card_of("run.trajectories=1", "run.max_delta_h=1e-9")))
    before = (tmp_path / "run" / "checkpoint.h5").read_bytes()
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", 9) == 3
    assert capsys.readouterr().err.startswith("slhmc: trajectory 5: ")
    assert (tmp_path / "run" / "checkpoint.h5").read_bytes() == before
    assert slhmc_command("status", tmp_path / "run") == 0
    assert ": failed  trajectory 4" in capsys.readouterr().out
    with pytest.raises(ComputationError, match=r"trajectory 5: .* is beyond \[run\] max_delta_h"):
        simulation.resume(tmp_path / "run", trajectories=9).run()
    (tmp_path / "run" / "card.toml").write_text(text)
    assert simulation.resume(tmp_path / "run", trajectories=9).run()


@pytest.mark.parametrize("text", [CARD, HEAT_BATH_CARD], ids=["hmc", "heat bath"])
def test_numbers_that_are_not_stop_the_run_before_they_are_kept(tmp_path, text):
    begun = simulation.create(parse_card(text, "card.toml"), tmp_path)
    before = (tmp_path / "checkpoint.h5").read_bytes()

    def spoil(report):
        if report.trajectory == 2:
            begun.U.from_sites(begun.U.to_sites() * np.nan)

    with pytest.raises(ComputationError, match="trajectory 3: .*(not a number|not finite|plaquette is nan)"):
        begun.run(spoil)
    assert (tmp_path / "checkpoint.h5").read_bytes() == before
    assert list(begun.chain.records["trajectory"]) == [1, 2] and begun.trajectory == 2
    assert simulation.resume(tmp_path).run()


def test_a_status_that_cannot_be_written_is_a_warning(tmp_path, caplog, uninterrupted, monkeypatch):
    monkeypatch.setattr(simulation.simulation, "STATUS_SECONDS", -1)
    (tmp_path / "status.json").mkdir()
    run_card(tmp_path)
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path / 'status.json'}: cannot be written") and warning.endswith("goes on without it")
    assert_same_chain(tmp_path, uninterrupted)


# ---- the first minutes of a user
@pytest.mark.parametrize("held", [(), ("card.toml",), ("card.toml", "chain.h5"), ("card.toml", "chain.h5", "checkpoint.h5")])
def test_quickstart_goes_on_with_any_run_that_was_begun(tmp_path, held):
    stand_ins = {"scripts/environment": f"cd {tmp_path}\nenvironment() {{ :; }}\n",
                 ".venv/bin/slhmc": "#!/bin/sh\necho slhmc $*\n"}
    for name, text in stand_ins.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".venv/bin/slhmc").chmod(0o755)
    shutil.copy(ROOT / "scripts" / "quickstart", tmp_path / "scripts")
    run = tmp_path / "runs" / "su2_staggered_hmc"
    run.mkdir(parents=True)
    for name in held:
        (run / name).touch()
    result = subprocess.run([tmp_path / "scripts" / "quickstart", "--set", "run.seed=2"], capture_output=True, text=True)
    lines = result.stdout.splitlines()
    if held:
        assert lines[-1] == "slhmc resume runs/su2_staggered_hmc" and "are not used" in result.stderr
    else:
        assert lines == ["slhmc run run_cards/su2_staggered_hmc.toml -o runs/su2_staggered_hmc --set run.seed=2"]


def test_resuming_a_finished_run_prints_its_summary(uninterrupted, capsys):
    assert slhmc_command("resume", uninterrupted) == 0
    assert "9 after 3 of thermalization" in capsys.readouterr().out


def test_an_interrupt_from_the_keyboard_keeps_the_last_checkpoint(tmp_path, uninterrupted):
    def interrupt(report):
        if report.trajectory == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.create(card_of(), tmp_path).run(interrupt)
    assert RunDirectory(tmp_path).read_status()["state"] == "interrupted" and final_links(tmp_path)[1] == 4
    assert simulation.resume(tmp_path).run()
    assert_same_chain(tmp_path, uninterrupted)
