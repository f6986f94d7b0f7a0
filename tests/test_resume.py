"""A run that stops and goes on: the same chain as one that did not stop; what of its card may change on the way."""


import numpy as np
import pytest
from running import (
    HEAT_BATH_CARD,
    STOPPED_EARLY,
    ask_to_stop,
    assert_same_chain,
    card_file,
    card_of,
    final_links,
    run_card,
    sets,
    slhmc_command,
    stop_after,
)

from slhmc import simulation
from slhmc.errors import InputError
from slhmc.io import EnsembleFile, MeasurementFile, RunDirectory
from slhmc.runcard import card_text, load_card, parse_card


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


def test_links_of_a_branch_that_was_lost_are_set_aside(tmp_path, capsys):
    """Of a session that was killed after its last checkpoint, and what was measured on them."""
    def die(report):
        if report.trajectory == 9:
            raise KeyboardInterrupt
    card = card_of("run.save_every=1", "run.checkpoint_every=6", "run.thermalization=0", "run.trajectories=10")
    with pytest.raises(KeyboardInterrupt):
        simulation.create(card, tmp_path).run(die)
    configs, kept = tmp_path / "configs", [f"cfg_{number:06d}.h5" for number in range(1, 11)]
    assert sorted(path.name for path in configs.iterdir()) == kept[:9]
    assert slhmc_command("measure", tmp_path, "--observable", "plaquette") == 0
    bytes_before = {name: (configs / name).read_bytes() for name in kept[:9]}
    with pytest.raises(InputError, match="3 trajectories asked for, but 6 are done"):
        simulation.resume(tmp_path, overrides=["run.trajectories=3"])
    assert len(list(configs.iterdir())) == 9  # nothing is moved before all is in order
    resumed = simulation.resume(tmp_path, overrides=["run.trajectories=7"])
    assert sorted(path.name for path in configs.glob("*.h5")) == kept[:6]
    assert {path.name: path.read_bytes() for path in (configs / "abandoned").iterdir()} == {
        name: bytes_before[name] for name in kept[6:9]}
    assert "the checkpoint is of 6: 3 of configs/" in RunDirectory(tmp_path).log.read_text()
    assert MeasurementFile.open(tmp_path / "measure.h5", "").series("plaquette")[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert resumed.run()
    assert slhmc_command("measure", tmp_path, "--observable", "plaquette") == 0
    measured = MeasurementFile.open(tmp_path / "measure.h5", "").series("plaquette")
    trajectories, values = EnsembleFile.open(tmp_path / "chain.h5").observables["plaquette"]
    assert measured[0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(measured[1], values[np.isin(trajectories, measured[0])], rtol=1e-13)
    simulation.resume(tmp_path, overrides=["run.trajectories=8"]).run()
    assert len(list((configs / "abandoned").iterdir())) == 3  # of a run that ended at a checkpoint nothing is lost


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


# ---- what may change on the way
def changes_of(directory):
    """What the chain file says about its card, and that it has the card of the directory."""
    chain = EnsembleFile.open(directory / "chain.h5")
    assert chain.card_text == (directory / "card.toml").read_text()
    return chain.changes


def test_resume_with_more_trajectories_extends_a_finished_run(tmp_path, uninterrupted):
    run_card(tmp_path / "run", "run.trajectories=4")
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", 9) == 0
    assert_same_chain(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("early", [True, False])
def test_the_extended_length_outlives_a_stop(tmp_path, uninterrupted, early):
    """Even one before the first trajectory."""
    run_card(tmp_path, "run.trajectories=4")
    resumed = simulation.resume(tmp_path, overrides=["run.trajectories=9"])
    with simulation.StopRequest() as stop:
        if early:
            ask_to_stop()
        assert not resumed.run(stop_after(9), stop)
    assert final_links(tmp_path)[1] == (7 if early else 9)
    assert simulation.resume(tmp_path).run()
    assert_same_chain(tmp_path, uninterrupted)


def test_a_card_edited_in_what_may_change_goes_on(tmp_path, uninterrupted):
    """And so does one with a later --trajectories."""
    run_card(tmp_path, "run.trajectories=2", "measure.rectangle.every=1")
    (tmp_path / "card.toml").write_text(card_text(card_of(
        "run.trajectories=6", "run.checkpoint_every=5", "run.time_limit=1e4", "run.max_delta_h=99", "lattice.lanes=2",
        "lattice.ranks=[1,1]", "measure.rectangle.every=3", "run.save_every=2", "reference.source=a paper")))
    assert simulation.resume(tmp_path).run()
    assert final_links(tmp_path)[1] == 9
    assert not simulation.resume(tmp_path, overrides=["run.trajectories=9"]).run(stop_after(10))
    assert simulation.resume(tmp_path).run()
    chain, whole = (EnsembleFile.open(run / "chain.h5") for run in (tmp_path, uninterrupted))
    assert list(chain.observables["rectangle"][0]) == [1, 2, 3, 4, 5, 6, 9, 12]
    np.testing.assert_allclose(final_links(tmp_path)[0], final_links(uninterrupted)[0], atol=1e-9)
    np.testing.assert_allclose(chain.records["delta_h"], whole.records["delta_h"], atol=1e-8)


def test_changes_go_on_record_and_stay(tmp_path, uninterrupted):
    """By --set or by an edit; a kill before the next checkpoint, or a resume that changes nothing, adds and loses nothing."""
    assert not simulation.create(card_of(), tmp_path).run(stop_after(5))
    assert changes_of(tmp_path) == []
    overrides = sets("run.checkpoint_every=3", "solver.max_iterations=900", "measure.rectangle.every=2", "run.time_limit=1e9")
    with simulation.StopRequest():  # as a kill before the first trajectory: nothing but the start is written
        simulation.resume(tmp_path, overrides=overrides[1::2]).close()
    expected = [(5, "solver.max_iterations", "20000", "900"), (5, "run.checkpoint_every", "4", "3"),
                (5, "run.time_limit", "", "1000000000.0")]
    assert changes_of(tmp_path) == expected
    assert load_card(tmp_path / "card.toml") == card_of(*overrides[1::2])
    assert not simulation.resume(tmp_path).run(stop_after(10))
    (tmp_path / "card.toml").write_text(card_text(card_of("run.checkpoint_every=3", "solver.max_iterations=900")))
    assert slhmc_command("resume", tmp_path) == 0
    assert changes_of(tmp_path) == [*expected, (10, "run.time_limit", "1000000000.0", "")]
    assert "changed after trajectory 10: run.time_limit = nothing (was 1000000000.0)\n" in (tmp_path / "log.txt").read_text()
    assert_same_chain(tmp_path, uninterrupted)


def test_the_option_for_the_length_is_a_change_of_the_card(tmp_path):
    run_card(tmp_path, "run.trajectories=1")
    assert slhmc_command("resume", tmp_path, "--trajectories", 3, *sets("run.trajectories=2", "measure.rectangle.every=1")) == 0
    assert changes_of(tmp_path) == [(4, "run.trajectories", "1", "3"), (4, "measure.rectangle.every", "2", "1")]
    assert final_links(tmp_path)[1] == 6


def test_changes_of_a_run_without_a_checkpoint_are_its_card(tmp_path, uninterrupted):
    RunDirectory(tmp_path).create(card_text(card_of("run.trajectories=2"))).close()
    assert simulation.resume(tmp_path, overrides=["run.trajectories=9"]).run()
    assert changes_of(tmp_path) == []
    assert_same_chain(tmp_path, uninterrupted)
