"""`slhmc measure` on files of other programs: which files, what numbers, damage, changes, several directories."""

import fcntl
import json
import shutil
import sys

import numpy as np
import pytest
from link_files import random_links
from running import ROOT, refusal, sets, slhmc_command

from slhmc import simulation
from slhmc.errors import InputError, RunCardError
from slhmc.io import MeasurementFile, fingerprint, found_configurations, load_configuration
from slhmc.io.formats import NAMES, Part, write_configuration
from slhmc.lattice import Draws, GaugeField, Lattice
from slhmc.runcard import load_measurement_card
from slhmc.simulation.build import make_observables

CARD = """
[lattice]
extent = [2, 2, 2, 4]
colors = 3
[measure.rectangle]
"""
QUARKS = CARD + """
[[quarks]]
operator = "staggered"
mass = 0.5
[measure.chiral_condensate]
noise = 2
[run]
seed = 5
"""


def write(path, seed=1, name="nersc", extent=(2, 2, 2, 4), colors=3):
    part = Part(random_links(extent, colors, seed), extent[-1]).in_precision("single" if name == "milc" else "double")
    write_configuration(path, part, name)
    return path


@pytest.fixture
def campaign(tmp_path):
    """A card, and a directory with three files of NERSC's format."""
    (tmp_path / "card.toml").write_text(CARD)
    (tmp_path / "lat").mkdir()
    for seed in (1, 2, 3):
        write(tmp_path / "lat" / f"ckpoint_lat.{100 * seed}", seed)
    return tmp_path


def arguments(campaign, *more):
    return ["measure", campaign / "lat", "--card", campaign / "card.toml", *more]


def measured(path):
    return MeasurementFile.open(path, "")


def told(capsys):
    """Lines of progress."""
    return [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if "/" in line[-4:]]


@pytest.mark.parametrize("name", NAMES)
def test_files_of_every_format_are_measured(tmp_path, capsys, name):
    """Values are those of the observables on the links of each file, with the noise of its number."""
    (tmp_path / "card.toml").write_text(QUARKS)
    (tmp_path / "lat").mkdir()
    for seed in (1, 2):
        write(tmp_path / "lat" / f"run1_cfg.{seed}0.{'h5' if name == 'slhmc' else 'x'}", seed, name)
    assert slhmc_command(*arguments(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "run1_cfg.20." in out and "SU(3), 2x2x2x4, staggered m 0.5" in out and "beta" not in out
    file, card = measured(tmp_path / "lat" / "measure.h5"), load_measurement_card(tmp_path / "card.toml")
    assert set(file.names) == {"plaquette", "polyakov_loop", "rectangle", "chiral_condensate"}
    assert file.settings["chiral_condensate"]["seed"] == 5
    lattice = Lattice(card.lattice.extent)
    U = GaugeField(lattice, 3)
    for configuration in found_configurations(tmp_path / "lat"):
        U.from_sites(load_configuration(configuration.path)[0])
        for observable, _ in make_observables(card, lattice):
            numbers, values = file.series(observable.name)
            assert numbers.tolist() == [10, 20]
            expected = observable.measure(U, Draws(5, configuration.number))
            np.testing.assert_array_equal(values[numbers == configuration.number][0], expected)


def test_each_file_is_measured_once(campaign, capsys):
    assert slhmc_command(*arguments(campaign)) == 0
    assert told(capsys) == [f"ckpoint_lat.{n}" for n in (100, 200, 300)]
    path = campaign / "lat" / "measure.h5"
    before, file = path.read_bytes(), measured(path)
    assert file.configurations[200] == ("ckpoint_lat.200", fingerprint(campaign / "lat" / "ckpoint_lat.200"))
    assert slhmc_command(*arguments(campaign)) == 0
    assert told(capsys) == [] and path.read_bytes() == before
    write(campaign / "lat" / "ckpoint_lat.50", 4)
    assert slhmc_command(*arguments(campaign)) == 0
    assert told(capsys) == ["ckpoint_lat.50"] and measured(path).series("plaquette")[0].tolist() == [50, 100, 200, 300]


def test_a_file_of_measurements_of_an_earlier_version_goes_on(campaign, capsys):
    """It has no list of configurations: they are in it from the next one on."""
    path = campaign / "lat" / "measure.h5"
    assert slhmc_command(*arguments(campaign)) == 0
    file = measured(path)
    file.configurations = {}
    file.flush()
    write(campaign / "lat" / "ckpoint_lat.400", 4)
    capsys.readouterr()
    assert slhmc_command(*arguments(campaign)) == 0 and told(capsys) == ["ckpoint_lat.400"]
    assert list(measured(path).configurations) == [400]


@pytest.mark.parametrize(("change", "words"), [
    ("lattice.extent=[4,4,4,4]", "holds measurements of SU(3) on 2x2x2x4, the card says SU(3) on 4x4x4x4; give the card"),
    ("lattice.colors=2", "holds measurements of SU(3) on 2x2x2x4, the card says SU(2) on 2x2x2x4; give the card")])
def test_a_card_of_another_lattice_is_refused_when_all_is_measured(campaign, capsys, change, words):
    """Volumes of what is shown are the card's."""
    assert slhmc_command(*arguments(campaign)) == 0
    assert words in refusal(capsys, *arguments(campaign, *sets(change)))
    file = measured(campaign / "lat" / "measure.h5")
    file.lattice = None  # as an earlier version leaves it
    file.flush()
    assert slhmc_command(*arguments(campaign)) == 0


def test_a_damaged_file_does_not_keep_the_others_from_being_measured(campaign, capsys):
    """Its message in the end, after the tables, with exit code 2; mended, it alone is measured."""
    path = campaign / "lat" / "ckpoint_lat.200"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(100))
    assert slhmc_command(*arguments(campaign)) == 2
    captured = capsys.readouterr()
    assert "ckpoint_lat.200: checksum: " in captured.err and captured.err.endswith("(1 failure; all else is measured and kept)\n")
    assert "plaquette" in captured.out and measured(campaign / "lat" / "measure.h5").series("plaquette")[0].tolist() == [100, 300]
    path.write_bytes(whole)
    assert slhmc_command(*arguments(campaign)) == 0 and told(capsys) == ["ckpoint_lat.200"]


def test_a_solver_that_does_not_converge_leaves_out_its_observable(campaign, capsys):
    """Exit code 3; everything else is kept, and the observable alone is measured when it can be."""
    (campaign / "card.toml").write_text(QUARKS)
    assert slhmc_command(*arguments(campaign, *sets("solver.max_iterations=1"))) == 3
    error = capsys.readouterr().err
    assert "ckpoint_lat.100, measuring chiral_condensate: " in error and "(3 failures; all else" in error
    assert measured(campaign / "lat" / "measure.h5").names == ["plaquette", "polyakov_loop", "rectangle"]
    assert slhmc_command(*arguments(campaign)) == 0
    assert "ckpoint_lat.100: chiral_condensate  1/3" in capsys.readouterr().out


def test_files_that_change_are_not_mixed(campaign, capsys, monkeypatch):
    """One that was measured and has changed since, and one that changes while it is read."""
    path = campaign / "lat" / "ckpoint_lat.200"
    first, second = path.read_bytes(), write(campaign / "other", 9).read_bytes()
    assert slhmc_command(*arguments(campaign)) == 0
    path.write_bytes(second)
    line = refusal(capsys, *arguments(campaign))
    assert "ckpoint_lat.200: has changed since it was measured into" in line and "another file by -o" in line
    path.write_bytes(first)
    module = sys.modules["slhmc.simulation.measure"]
    read = module.links_of_file

    def read_and_change(configuration, card):
        links = read(configuration, card)
        if configuration.path == path:
            path.write_bytes(second)
        return links
    monkeypatch.setattr(module, "links_of_file", read_and_change)
    line = refusal(capsys, *arguments(campaign, "-o", campaign / "more.h5"))
    assert "ckpoint_lat.200: has changed while it was read" in line
    assert measured(campaign / "more.h5").series("plaquette")[0].tolist() == [100, 300]


def test_another_directory_does_not_go_into_the_same_file(campaign, capsys):
    (campaign / "more").mkdir()
    assert slhmc_command(*arguments(campaign, "-o", campaign / "all.h5")) == 0
    for name, words in (("cfg.100", "number 100 was measured on ckpoint_lat.100, which is cfg.100 now"),
                        ("ckpoint_lat.100", "has changed since it was measured")):
        write(campaign / "more" / name, 7)
        more = ["measure", campaign / "more", "--card", campaign / "card.toml", "-o", campaign / "all.h5"]
        assert words in refusal(capsys, *more)
        (campaign / "more" / name).unlink()


def test_a_card_that_does_not_fit_ends_at_once(campaign, capsys):
    for change, words in (("lattice.extent=[2,2,4,4]", "links of a lattice 2x2x2x4 found, 2x2x4x4 expected"),
                          ("lattice.colors=2", "links of SU(3) found, SU(2) expected; change [lattice] colors")):
        line = refusal(capsys, *arguments(campaign, *sets(change)))
        assert words in line and "ckpoint_lat.100" in line
    assert not (campaign / "lat" / "measure.h5").exists()


# ---- names and numbers
def numbers_of(tmp_path, names, pattern=None):
    for name in names:
        (tmp_path / name).write_bytes(b"BEGIN_HEADER\n")  # begins as one of NERSC
    return {found.label: found.number for found in found_configurations(tmp_path, pattern)}


@pytest.mark.parametrize(("names", "pattern", "expected"), [
    (["l1648f21b6.100", "l1648f21b6.90"], None, [100, 90]),
    (["b5p7_cfg_0007_s0.lime", "b5p7_cfg_0010_s0.lime"], None, [7, 10]),
    (["run2_b5.7_n12.h5x"], "run2_b5.7_n{n}.*", [12]),
    (["cfg_000123.lime"], None, [123]),
    (["b57.3.nersc"], None, [3]),
    (["hot.lime", "cold.lime"], None, [2, 1]),
    (["r0n1", "r0n2", "r1n1", "r1n2"], "r1n{n}", {"r1n1": 1, "r1n2": 2}),
    (["a1b1", "a2b2"], "a{n}b?", [1, 2]),
    (["cfg_1.nersc", "old_cfg_1.nersc", "cfg_22.nersc"], "cfg_*.nersc", {"cfg_1.nersc": 1, "cfg_22.nersc": 22}),
])
def test_numbers_are_read_from_names(tmp_path, names, pattern, expected):
    found = numbers_of(tmp_path, names, pattern)
    assert found == (expected if isinstance(expected, dict) else dict(zip(names, expected, strict=True)))
    assert list(found.values()) == sorted(found.values())


@pytest.mark.parametrize(("names", "pattern", "words"), [
    (["r0n1", "r0n2", "r1n1"], None, "differ in 2 numbers; say where the number is by --files"),
    (["r0n1", "r1n1"], "r*n{n}", "r0n1 and r1n1 both have number 1; measure those of one chain at a time"),
    (["cfg_01", "cfg_1"], None, "cfg_01 and cfg_1 both have number 1"),
    (["cfg_1", "lat_2"], None, "names of 2 kinds found, such as cfg_1 and lat_2"),
    (["cfg_9999999999"], None, "number 9999999999 found in the name, at most 4294967295 expected"),
    (["cfg_1"], "conf_{n}", "no files named conf_{n} found among 1"),
    (["cfg_1"], "{n}_{n}", "--files {n}_{n}: a pattern of file names expected"),
    (["cfg_1"], "lat/cfg_{n}", "--files lat/cfg_{n}: a pattern of file names expected"),
    (["cfg_1"], "", "--files : a pattern of file names expected"),
    ([], None, "no files of links of any format found among 0"),
])
def test_ambiguous_names_are_refused(tmp_path, names, pattern, words):
    with pytest.raises(InputError) as caught:
        numbers_of(tmp_path, names, pattern)
    assert words in str(caught.value)


def test_names_without_numbers_may_only_grow_at_the_end(campaign, capsys):
    """Their numbers are their places, which a name in between would change."""
    for path in sorted((campaign / "lat").iterdir()):
        path.rename(path.with_name({"100": "b", "200": "d", "300": "e"}[path.suffix[1:]]))
    assert slhmc_command(*arguments(campaign)) == 0
    assert measured(campaign / "lat" / "measure.h5").series("plaquette")[0].tolist() == [1, 2, 3]
    write(campaign / "lat" / "f", 4)
    assert slhmc_command(*arguments(campaign)) == 0
    write(campaign / "lat" / "c", 5)
    assert "number 2 was measured on d, which is c now" in refusal(capsys, *arguments(campaign))


def test_a_file_keeps_its_number(campaign, capsys):
    """A single file has its last digits; a second one may tell that others are meant."""
    for path in (campaign / "lat").iterdir():
        path.unlink()
    write(campaign / "lat" / "cfg_7_s1", 4)
    assert slhmc_command(*arguments(campaign)) == 0
    write(campaign / "lat" / "cfg_8_s1", 5)
    line = refusal(capsys, *arguments(campaign))
    assert "cfg_7_s1 was measured as number 1, it is number 7 now; measure into another file by -o, or say where" in line


def test_other_files_are_passed_over_and_named(campaign, caplog, capsys):
    (campaign / "lat" / "README").write_text("lattices")
    (campaign / "lat" / ".hidden.lime").write_text("x")
    assert slhmc_command(*arguments(campaign)) == 0
    assert "README passed over, 1 in all" in caplog.text
    caplog.clear()
    (campaign / "lat" / "bad.lime").write_text("no links")
    assert "names of 2 kinds found" in refusal(capsys, *arguments(campaign))
    (campaign / "lat" / "bad.lime").rename(campaign / "lat" / "ckpoint_lat.400")
    for more in ([], ["--files", "ckpoint_lat.{n}"]):    # named like the others: a damaged one of them
        assert "ckpoint_lat.400: a file that begins with 6e 6f" in refusal(capsys, *arguments(campaign, *more))


# ---- requests
@pytest.mark.parametrize(("more", "words"), [
    (["--farm", "2"], "--farm 2: 1 MPI rank cannot be split into 2 groups of equal size; give a divisor"),
    (["--farm", "0"], "--farm 0: "),
    (["--observable", "mesons"], "--observable mesons: needs at least one [[quarks]]"),
    (["-o", "nowhere/m.h5"], "nowhere/m.h5: cannot be locked: no such file or directory; make the directory first"),
    (["--online"], "--online: shows what runs have measured on their way"),
    (sets("lattice.ranks=[1,1,1,2]"), "2 ranks"),
    (sets("lattice.extent=[2,2,2,3]"), "--set lattice.extent=[2,2,2,3]: "),
])
def test_bad_requests_are_told(campaign, capsys, more, words):
    assert words in refusal(capsys, *arguments(campaign, *more))


@pytest.mark.parametrize(("text", "words"), [
    ("[measure.rectangle]", "the card needs a table [lattice]"),
    (CARD + "[fit]\n", "a card with [fit] found, which makes its own links"),
    (CARD + "nonsense", "not valid TOML"),
    (CARD + "[gauge]\n", "gauge.action: missing"),
    ("run = 1\n" + CARD, "run: "),
])
def test_bad_cards_are_told(campaign, text, words):
    (campaign / "card.toml").write_text(text)
    with pytest.raises(RunCardError) as caught:
        load_measurement_card(campaign / "card.toml")
    assert words in str(caught.value)


def test_a_whole_run_card_is_a_card_of_measurements():
    card = load_measurement_card(ROOT / "run_cards" / "su2_2d_pure_gauge.toml")
    assert card.gauge.beta is not None and card.run.trajectories > 1
    assert load_measurement_card(ROOT / "run_cards" / "su2_2d_pure_gauge.toml", ["gauge.beta=3"]).gauge.beta == 3


def test_a_run_and_a_directory_of_files_are_told_apart(campaign, capsys):
    """Each with what is missing; configs/ of a run are files like others."""
    assert "no card.toml found, the directory of a run expected; for files of links of other programs give a card" in refusal(
        capsys, "measure", campaign / "lat")
    assert "cannot be read: no such file" in refusal(capsys, "measure", campaign / "none", "--card", campaign / "card.toml")
    run = campaign / "run"
    shorter = sets("run.thermalization=0", "run.trajectories=4", "run.save_every=2", "lattice.extent=[4,4]")
    assert slhmc_command("run", ROOT / "run_cards" / "su2_2d_pure_gauge.toml", "-o", run, *shorter) == 0
    assert "which has its own card; leave out --card" in refusal(capsys, "measure", run, "--card", campaign / "card.toml")
    line = refusal(capsys, "measure", run, "--files", "cfg*")
    assert "--files cfg*: chooses files of other programs, which need --card" in line
    assert slhmc_command("measure", run) == 0
    assert slhmc_command("measure", run / "configs", "--card", run / "card.toml", "-o", campaign / "again.h5") == 0
    own, again = measured(run / "measure.h5"), measured(campaign / "again.h5")
    np.testing.assert_array_equal(own.series("plaquette"), again.series("plaquette"))
    path = run / "configs" / "cfg_000004.h5"
    shutil.copy(run / "configs" / "cfg_000002.h5", path)
    assert "cfg_000004.h5: has changed since it was measured" in refusal(capsys, "measure", run)


def test_several_directories_are_measured_one_after_the_other(campaign, capsys):
    shutil.copytree(campaign / "lat", campaign / "more")
    both = ["measure", campaign / "lat", campaign / "more", "--card", campaign / "card.toml"]
    for option in ("-o", "--plot"):
        line = refusal(capsys, *both, option, "all.png")
        assert f"{option} all.png: one file for 2 directories found" in line
    assert slhmc_command(*both, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert list(numbers) == [str(campaign / "lat"), str(campaign / "more")]
    assert slhmc_command(*both[:2], *both[3:], "--json") == 0
    assert json.loads(capsys.readouterr().out) == numbers[str(campaign / "lat")]
    assert all((campaign / folder / "measure.h5").exists() for folder in ("lat", "more"))


def test_several_runs_are_measured_and_shown_one_after_the_other(tmp_path, capsys):
    runs = [tmp_path / "first", tmp_path / "second"]
    shorter = sets("run.thermalization=0", "run.trajectories=4", "run.save_every=2", "lattice.extent=[4,4]")
    assert slhmc_command("run", ROOT / "run_cards" / "su2_2d_pure_gauge.toml", "-o", runs[0], *shorter) == 0
    shutil.copytree(*runs)
    path = runs[1] / "configs" / "cfg_000002.h5"
    path.write_bytes(path.read_bytes()[:-10])
    capsys.readouterr()
    assert slhmc_command("measure", *runs) == 2  # for the second one, after both are measured
    captured = capsys.readouterr()
    assert [line for line in captured.out.splitlines() if "/2" in line[-4:]] == [
        f"trajectory {n}: plaquette, polyakov_loop  {n // 2}/2" for n in (2, 4, 4)]
    assert f"{path}: truncated" in captured.err
    assert slhmc_command("measure", *runs, "--online", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown[str(runs[0])] == shown[str(runs[1])] and shown[str(runs[0])]["observables"]["plaquette"]["measurements"] == 4


def test_a_second_process_is_refused(campaign, capsys):
    with open(campaign / "lat" / ".measure.h5.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another `slhmc measure` is at work on it" in refusal(capsys, *arguments(campaign))


def test_what_is_killed_goes_on_where_it_was(campaign, capsys):
    """The file on disk has each configuration when it is told."""
    path = campaign / "lat" / "measure.h5"

    def kill(configuration, done, total, names):
        if done == 2:
            assert measured(path).series("plaquette")[0].tolist() == [100, 200]
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        simulation.measure(campaign / "lat", card=campaign / "card.toml", observer=kill)
    assert slhmc_command(*arguments(campaign)) == 0 and told(capsys) == ["ckpoint_lat.300"]


def test_the_library_raises_what_failed(campaign):
    (campaign / "lat" / "ckpoint_lat.100").write_bytes(b"BEGIN_HEADER\n")
    with pytest.raises(InputError, match=r"ckpoint_lat\.100: damaged: no END_HEADER"):
        simulation.measure(campaign / "lat", card=campaign / "card.toml")
