"""Whole runs: what is written can be read, what cannot go on stops in words."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from running import (
    CARD,
    HEAT_BATH_CARD,
    ROOT,
    assert_same_chain,
    card_file,
    card_of,
    final_links,
    run_card,
    slhmc_command,
    stop_after,
)

from slhmc import simulation
from slhmc.errors import ComputationError
from slhmc.io import EnsembleFile, RunDirectory, load_links
from slhmc.runcard import card_text, parse_card


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
    told = capsys.readouterr().out
    assert ": failed  trajectory 4" in told and "  error: trajectory 5: dH = " in told
    with pytest.raises(ComputationError, match=r"trajectory 5: .* is beyond \[run\] max_delta_h"):
        simulation.resume(tmp_path / "run", overrides=["run.trajectories=9"]).run()
    (tmp_path / "run" / "card.toml").write_text(text)
    assert simulation.resume(tmp_path / "run", overrides=["run.trajectories=9"]).run()


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
    assert RunDirectory(tmp_path).read_status()["error"].startswith("trajectory 3")
    assert simulation.resume(tmp_path).run()
    assert "error" not in RunDirectory(tmp_path).read_status()


def test_an_error_that_is_not_ours_is_in_the_status_by_its_name(tmp_path):
    with pytest.raises(ZeroDivisionError):
        simulation.create(card_of(), tmp_path).run(lambda report: 1 / 0)
    status = RunDirectory(tmp_path).read_status()
    assert (status["state"], status["error"]) == ("failed", "ZeroDivisionError: division by zero")


def test_a_status_that_cannot_be_written_is_a_warning(tmp_path, caplog, uninterrupted, monkeypatch):
    monkeypatch.setattr("slhmc.simulation.status.STATUS_SECONDS", -1)
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
