"""Runs of the complex scalar field from cards: files, resume to the same bits, stops, summaries, words about bad input."""

import json
import shutil

import numpy as np
import pytest
from running import ask_to_stop, refusal, sets, slhmc_command

from slhmc import simulation
from slhmc.errors import InputError, RunCardError
from slhmc.io import FluxChains, FluxConfigurations, load_flux_checkpoint, load_fluxes, save_flux_checkpoint, save_fluxes
from slhmc.io.scalar import smallest_integers
from slhmc.runcard import Card, ScalarCard, card_text, load_card, parse_card
from slhmc.scalar import WormSampler, divergence

TEXT = """[lattice]
extent = [3, 6]
[scalar]
eta = [4.01, 4.25]
coupling = 1.0
mu = { first = 0.9, last = 1.3, count = 3 }
chains = 2
worms = 2
[run]
seed = 5
thermalization = 4
sweeps = 14
measure_every = 2
save_every = 3
checkpoint_every = 5
"""


def card_of(*overrides):
    return parse_card(TEXT, "card.toml", overrides, ScalarCard)


@pytest.fixture
def card_path(tmp_path):
    path = tmp_path / "scalar.toml"
    path.write_text(TEXT)
    return path


def assert_same_run(directory, other):
    for one, expected in zip(load_flux_checkpoint(directory / "checkpoint.h5"), load_flux_checkpoint(other / "checkpoint.h5"),
                             strict=True):
        np.testing.assert_array_equal(one, expected)
    chains, expected = (FluxChains.open(folder / "chain.h5") for folder in (directory, other))
    np.testing.assert_array_equal(chains.sweeps, expected.sweeps)
    for name in ("density", "phi_squared"):
        np.testing.assert_array_equal(chains.values(name), expected.values(name))
    kept = [sorted(path.name for path in (folder / "configs").glob("*.h5")) for folder in (directory, other)]
    assert kept[0] == kept[1]
    for name in kept[0]:
        assert (directory / "configs" / name).read_bytes() == (other / "configs" / name).read_bytes()


def test_a_run_leaves_chains_configurations_and_a_summary(card_path, tmp_path, device, capsys):
    run = tmp_path / "run"
    assert slhmc_command("run", card_path, "-o", run) == 0
    assert "18/18" in capsys.readouterr().out
    chains = FluxChains.open(run / "chain.h5")
    assert chains.sweeps.tolist() == list(range(2, 19, 2)) and chains.thermalization == 4
    eta, mu = np.repeat([4.01, 4.25], 6), np.tile(np.repeat([0.9, 1.1, 1.3], 2), 2)
    sampler = WormSampler(device, (3, 6), eta, 1.0, mu, 12, 5, 2)
    for sweep in range(1, 19):
        sampler.update()
        n, square = sampler.observables()
        if sweep % 2 == 0:
            np.testing.assert_array_equal(chains.values("density")[sweep // 2 - 1], n)
            np.testing.assert_array_equal(chains.values("phi_squared")[sweep // 2 - 1], square)
        if sweep % 3 == 0 and sweep > 4:
            kept = load_fluxes(run / "configs" / f"cfg_{sweep:06d}.h5")
            for name, expected in (("k", sampler.k), ("l", sampler.l), ("eta", eta), ("mu", mu), ("density", n),
                                   ("phi_squared", square), ("coupling", np.ones(12)), ("sweep", sweep)):
                np.testing.assert_array_equal(getattr(kept, name), expected)
            assert kept.k.shape == (12, 6, 3, 2) and not divergence(kept.k).any()
    assert len(list((run / "configs").iterdir())) == 5
    assert slhmc_command("summary", run, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["sweeps"], told["thermalization"], told["measure_every"], len(told["couplings"])) == (14, 4, 2, 6)
    third = told["couplings"][2]
    assert (third["eta"], third["mu"], third["chains"]) == (4.01, 1.3, 2)
    assert third["density"]["mean"] == pytest.approx(chains.values("density")[2:, 4:6].mean(), abs=1e-14)
    assert slhmc_command("summary", run) == 0 and slhmc_command("status", run) == 0
    out = capsys.readouterr().out
    assert "an error needs at least 10" in out and "done  sweep 18/18" in out


def test_commands_of_gauge_theory_point_to_the_summary(card_path, tmp_path, capsys):
    assert slhmc_command("run", card_path, "-o", tmp_path / "run") == 0
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    for command, *others in (("measure",), ("export",), ("compare", tmp_path / "other")):
        assert "slhmc summary" in refusal(capsys, command, tmp_path / "run", *others), command


def test_a_run_that_was_stopped_goes_on_bit_for_bit(card_path, tmp_path, capsys):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert simulation.create_scalar(card_of(), whole).run()
    stopping = simulation.create_scalar(card_of(), run)
    assert not stopping.run(lambda report: report.sweep == 8 and ask_to_stop())
    assert load_flux_checkpoint(run / "checkpoint.h5")[2] == 9
    assert slhmc_command("status", run) == 0 and "stopped  sweep 9/18" in capsys.readouterr().out
    assert slhmc_command("resume", run) == 0
    assert_same_run(run, whole)
    assert slhmc_command("resume", run, *sets("run.sweeps=20")) == 0
    assert simulation.create_scalar(card_of("run.sweeps=20"), tmp_path / "longer").run()
    assert_same_run(run, tmp_path / "longer")
    assert "changed after sweep 18: run.sweeps = 20 (was 14)" in (run / "log.txt").read_text()


def test_what_is_later_than_the_checkpoint_is_made_again(tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert simulation.create_scalar(card_of(), whole).run()
    killed = simulation.create_scalar(card_of(), run)
    for _ in range(9):
        killed._advance()
    killed.chains.flush()  # killed between the two files of a checkpoint
    killed.files.close()
    assert load_flux_checkpoint(run / "checkpoint.h5")[2] == 0
    assert simulation.resume_scalar(run).run()
    assert_same_run(run, whole)


def test_a_run_that_hardly_measures_can_be_stopped(tmp_path):
    """And goes on to the same bits."""
    rarely = [f"run.{key}=1000000000" for key in ("sweeps", "measure_every", "checkpoint_every")]
    assert not simulation.create_scalar(card_of(*rarely, "run.save_every=0", "run.time_limit=0.5"), tmp_path / "run").run()
    k, ell, sweep = load_flux_checkpoint(tmp_path / "run" / "checkpoint.h5")[:3]
    whole = simulation.create_scalar(card_of(*rarely, "run.save_every=0"), tmp_path / "whole")
    whole.sampler.update(sweep)
    assert 0 < sweep < 1e9
    np.testing.assert_array_equal(whole.sampler.k, k)
    np.testing.assert_array_equal(whole.sampler.l, ell)
    whole.files.close()


def test_a_time_limit_stops_with_a_checkpoint(tmp_path):
    assert not simulation.create_scalar(card_of("run.time_limit=1e-6"), tmp_path).run()
    assert load_flux_checkpoint(tmp_path / "checkpoint.h5")[2] > 0
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "stopped"
    assert simulation.resume_scalar(tmp_path, overrides=["run.time_limit=1000"]).run()


def test_a_power_beyond_the_table_fails_the_run(card_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("slhmc.scalar.worm.TABLE_LENGTH", 4)
    assert slhmc_command("run", card_path, "-o", tmp_path / "run") == 3
    assert "where the table of W ends" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


# ------------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(("old", "new", "words"), [
    ("eta = [4.01, 4.25]", "", "3: scalar.eta: missing: eta, or mass with eta = 4 + mass^2"),
    ("eta = [4.01, 4.25]", "eta = 4.01\nmass = 0.1", "5: scalar.mass: eta = 4 + mass^2 and mass are both given; keep one"),
    ("eta = [4.01, 4.25]", "eta = -1.0", "4: scalar.eta: must be greater than 0, found -1"),
    ("eta = [4.01, 4.25]", "eta = []", "4: scalar.eta: expected at least 1 entries, found 0"),
    ("eta = [4.01, 4.25]", 'eta = ["a"]', '4: scalar.eta.0: expected a number, found "a"'),
    ("eta = [4.01, 4.25]", "eta = [4.01, 4.01]", "4: scalar.eta: a value is given twice; give more chains"),
    ("eta = [4.01, 4.25]", "mass = 1e200", "4: scalar.mass: must lie between -1e+150 and 1e+150, found 1e+200"),
    ("last = 1.3", "last = -900.3", "6: scalar.mu: must lie between -700 and 700, found -900.3"),
    ("coupling = 1.0", "coupling = -1.0", "5: scalar.coupling: must be at least 0, found -1"),
    ("coupling = 1.0", "coupling = 0.0", "5: scalar.coupling: without interaction Z exists only for eta > 2 + 2 cosh(mu) = "),
    ("coupling = 1.0", "", "3: scalar.coupling: missing: lambda of |phi|^4"),
    ("count = 3", "count = 1", "6: scalar.mu: expected a number, a list of them, or { first = 0.8, last = 1.3, count = 11 }"),
    ("chains = 2", "chains = 0", "7: scalar.chains: must be at least 1, found 0"),
    ("chains = 2", "chans = 2", "7: scalar.chans: unknown key; did you mean chains?"),
    ("[3, 6]", "[3, 6, 2]", "2: lattice.extent: expected at most 2 entries, found 3"),
    ("[3, 6]", "[3, 100000000]", "2: lattice.extent: at most 268435456 sites of all chains together, found 3600000000"),
    ("worms = 2", "worms = 1000000", "8: scalar.worms: at most 8388608 worms of all chains together in a sweep, found 12000000"),
    ("[3, 6]", "[0, 6]", "2: lattice.extent.0: must be at least 1, found 0"),
    ("sweeps = 14", "trajectories = 14", "12: run.trajectories: unknown key; [run] has thermalization, sweeps, seed"),
    ("sweeps = 14", "", "9: run.sweeps: missing: sweeps of production"),
    ("[run]", "[measure]\n[run]", "9: measure: unknown table; a card has lattice, scalar, run")])
def test_faults_of_a_card_are_told_at_their_lines(old, new, words):
    assert TEXT.count(old) == 1
    with pytest.raises(RunCardError) as caught:
        parse_card(TEXT.replace(old, new), "card.toml", (), Card)
    assert any(line.startswith(f"card.toml:{words}") for line in str(caught.value).splitlines()), str(caught.value)


def test_a_card_is_written_out_as_the_same_card():
    card = card_of()
    assert card.scalar.mu == (0.9, 1.1, 1.3) and card.scalar.etas == (4.01, 4.25)
    assert parse_card(card_text(card), "card.toml", (), ScalarCard) == card
    massive = parse_card(TEXT.replace("eta = [4.01, 4.25]", "mass = [0.0, 0.5]"), "card.toml", (), ScalarCard)
    assert massive.scalar.etas == (4.0, 4.25)


def test_commands_for_other_cards_say_so(card_path, tmp_path, capsys):
    assert slhmc_command("card", "check", card_path) == 0
    refused = refusal(capsys, "train", card_path, "-o", tmp_path / "t")
    assert "found, one with [gauge] or data.kind expected; it is for `slhmc run`" in refused
    assert slhmc_command("build", card_path) == 0
    run = tmp_path / "run"
    assert slhmc_command("run", card_path, "-o", run) == 0
    assert "give --set run.sweeps=N" in refusal(capsys, "resume", run, "--trajectories", 20)
    assert "an slhmc scalar file found, a chain file expected" in refusal(capsys, "export", run)
    assert "of another run found" in refusal(capsys, "run", card_path, "-o", run)
    other = sets("scalar.mu=[0.7, 1.1, 1.3]")
    assert "scalar.mu = [0.7, 1.1, 1.3] (was [0.9, 1.1, 1.3])" in refusal(capsys, "resume", run, *other)
    assert "run.sweeps=N" in refusal(capsys, "resume", run, *sets("run.sweeps=2"))
    assert "give --ranks 1" in refusal(capsys, "submit", card_path, "-o", tmp_path / "job", "--ranks", 2, "--scheduler", "local")
    assert slhmc_command("submit", card_path, "-o", tmp_path / "job", "--scheduler", "local", "--dry-run") == 0
    with pytest.raises(RunCardError, match=r"one with \[gauge\] expected"):
        load_card(card_path)


def test_several_ranks_are_refused(tmp_path):
    class Two:
        rank, size = 0, 2
    with pytest.raises(InputError, match="2 ranks, 1 expected: threads share its chains"):
        simulation.create_scalar(card_of(), tmp_path, communicator=Two())


@pytest.mark.parametrize("name", ["chain.h5", "checkpoint.h5"])
def test_damaged_files_are_told(tmp_path, name):
    assert simulation.create_scalar(card_of(), tmp_path).run()
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match="truncated"):
        simulation.resume_scalar(tmp_path)
    path.write_bytes(content)
    simulation.resume_scalar(tmp_path).files.close()  # and the lock is free


def test_a_checkpoint_of_another_run_or_none_is_told(tmp_path):
    for name, extent in (("a", "[3, 6]"), ("b", "[6, 3]")):
        assert simulation.create_scalar(card_of(f"lattice.extent={extent}"), tmp_path / name).run()
    save_flux_checkpoint(tmp_path / "a" / "checkpoint.h5", *load_flux_checkpoint(tmp_path / "b" / "checkpoint.h5"), None)
    with pytest.raises(InputError, match=r"checkpoint.h5: k of shape .* put back the checkpoint of this run"):
        simulation.resume_scalar(tmp_path / "a")
    (tmp_path / "a" / "checkpoint.h5").unlink()
    with pytest.raises(InputError, match="missing, but chain.h5 holds measurements"):
        simulation.resume_scalar(tmp_path / "a")


# ------------------------------------------------------------------------------------------------ integers in files
@pytest.mark.parametrize(("value", "kind"), [(127, "i1"), (-128, "i1"), (128, "i2"), (-129, "i2"), (40000, "i4"), (-2**31, "i4")])
def test_integers_are_kept_in_a_type_that_holds_them(tmp_path, value, kind):
    k = np.zeros((1, 2, 2, 2), np.int64)
    k[0, 1, 0, 1] = value
    found = smallest_integers(k)
    assert found.dtype == kind and (found == k).all()
    one = np.ones(1)
    save_fluxes(tmp_path / "a.h5", FluxConfigurations(k, abs(k[..., ::-1]) % 100, one, one, one, one, one, 7))
    kept = load_fluxes(tmp_path / "a.h5")
    assert (kept.k == k).all() and (kept.l == abs(k[..., ::-1]) % 100).all() and kept.sweep == 7


def test_integers_beyond_a_file_are_refused():
    with pytest.raises(InputError, match="files have 32 bits"):
        smallest_integers(np.array([2**31]))
