"""Files of a run: what is written comes back, and damage is seen before it does harm."""

import errno
import os
import random

import h5py
import link_files
import numpy as np
import pytest

from slhmc.errors import ComputationError, InputError
from slhmc.io import (
    RECORD,
    EnsembleFile,
    load_checkpoint,
    load_links,
    save_checkpoint,
    save_links,
)
from slhmc.io.checkpoint import owner_of
from slhmc.io.sealed import write_sealed

CARD = "# Maß\n[lattice]\nextent = [4, 4]\n"


def random_links(extent=(2, 4), colors=2, seed=1):
    """Two-colour links of a small lattice."""
    return link_files.random_links(extent, colors, seed)


def record(trajectory):
    return {"trajectory": trajectory, "accepted": trajectory % 3 > 0, "delta_h": 0.1 * trajectory,
            "iterations": 10 * trajectory, "seconds": 0.5, "thermalization": trajectory < 3}


def small_chain(path, trajectories=6):
    chain = EnsembleFile.create(path, CARD, "0.1")
    for trajectory in range(1, trajectories + 1):
        chain.append(record(trajectory))
        chain.append_observable("plaquette", trajectory, 1 / trajectory)
        if trajectory % 2 == 0:
            chain.append_observable("polyakov_loop", trajectory, np.array([1, 2j]) * trajectory)
    chain.flush()
    return chain


def same_chain(first, second):
    observables = first.observables, second.observables
    return (np.array_equal(first.records, second.records) and first.card_text == second.card_text
            and first.version == second.version and observables[0].keys() == observables[1].keys()
            and all(np.array_equal(a, b) for name in observables[0]
                    for a, b in zip(observables[0][name], observables[1][name], strict=True)))


STATE = {"seed": 2**32 - 1, "huge": 2**127 + 1, "third": 1 / 3, "nothing": None, "on": True, "text": "Maß",
         "nested": {"list": [1, [2.5, "x"]], "array": np.arange(6.0).reshape(2, 3)},
         "complex": np.array([1 + 2j]), "integer": np.uint64(2**64 - 1), "empty": {}}

OWNER = owner_of("run", CARD)

SAVE = {"links": lambda path, seed=1: save_links(path, random_links(seed=seed), trajectory=12),
        "checkpoint": lambda path, seed=1: save_checkpoint(path, random_links(seed=seed), 12, STATE, OWNER),
        "chain": lambda path, seed=1: EnsembleFile(path, CARD, str(seed)).flush()}
LOAD = {"links": load_links, "checkpoint": load_checkpoint, "chain": EnsembleFile.open}
kinds = pytest.mark.parametrize("kind", SAVE)


# What is written comes back

@pytest.mark.parametrize(("extent", "colors"), [((2, 4), 2), ((2, 4, 6), 3), ((2, 2, 4, 6), 3), ((2, 2), 6)])
def test_links_come_back_bit_for_bit_with_their_attributes(tmp_path, extent, colors):
    links, path = random_links(extent, colors), tmp_path / "cfg.h5"
    save_links(path, links, trajectory=7, plaquette=0.5, name="Maß", wild=True)
    found, attributes = load_links(path, extent=extent, colors=colors)
    assert found.dtype == np.complex128
    assert np.array_equal(found, links)
    assert attributes == {"extent": extent, "colors": colors, "trajectory": 7, "plaquette": 0.5, "name": "Maß",
                          "wild": True}


def test_files_are_plain_hdf5_and_equal_contents_give_equal_bytes(tmp_path):
    for kind, save in SAVE.items():
        save(tmp_path / "a.h5")
        save(tmp_path / "b.h5")
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes(), kind
    save_links(tmp_path / "cfg.h5", random_links())
    with h5py.File(tmp_path / "cfg.h5") as file:
        assert np.array_equal(file["links"][()], random_links())
        assert tuple(file.attrs["extent"]) == (2, 4)


def test_checkpoint_comes_back_bit_for_bit(tmp_path):
    save_checkpoint(tmp_path / "c.h5", random_links(), 123456, STATE, OWNER)
    links, trajectory, state = load_checkpoint(tmp_path / "c.h5", OWNER)
    assert np.array_equal(links, random_links())
    assert trajectory == 123456
    assert state.keys() == STATE.keys()
    assert all(state[name] == STATE[name] for name in STATE if name not in ("nested", "complex"))
    assert state["nested"]["list"] == STATE["nested"]["list"]
    assert np.array_equal(state["nested"]["array"], STATE["nested"]["array"])
    assert np.array_equal(state["complex"], STATE["complex"])


def test_state_that_cannot_be_kept_is_refused_and_the_old_checkpoint_stays(tmp_path):
    SAVE["checkpoint"](tmp_path / "c.h5")
    for state in ({"key": object()}, {1: "key"}, {"__array__": 3}, {"set": {1}}):
        with pytest.raises(TypeError):
            save_checkpoint(tmp_path / "c.h5", random_links(), 13, state, OWNER)
    assert load_checkpoint(tmp_path / "c.h5")[1] == 12


def test_chain_comes_back_and_goes_on(tmp_path):
    chain = small_chain(tmp_path / "chain.h5")
    found = EnsembleFile.open(tmp_path / "chain.h5")
    assert same_chain(chain, found)
    assert found.records.dtype == RECORD
    assert found.observables["polyakov_loop"][1].shape == (3, 2)
    for each in (chain, found):
        each.append(record(7))
        each.append_observable("plaquette", 7, 0.25)
    found.flush()
    assert same_chain(chain, EnsembleFile.open(tmp_path / "chain.h5"))


@pytest.mark.parametrize("last", [0, 1, 4, 6, 99])
def test_truncated_chain_is_the_chain_that_stopped_there(tmp_path, last):
    chain = small_chain(tmp_path / "long.h5")
    chain.truncate(last)
    assert same_chain(chain, small_chain(tmp_path / "short.h5", trajectories=min(last, 6)))


def test_changes_of_the_card_come_back_and_are_no_later_than_the_chain(tmp_path):
    chain = small_chain(tmp_path / "chain.h5")
    chain.change_card("first", 2, [("run.trajectories", "4", "5"), ("reference.source", "", '"Maß"')])
    chain.change_card("second", 5, [("run.time_limit", "1.0", "")])
    chain.flush()
    bytes_of = (tmp_path / "chain.h5").read_bytes()
    found = EnsembleFile.open(tmp_path / "chain.h5")
    assert (found.card_text, found.changes) == ("second", [
        (2, "run.trajectories", "4", "5"), (2, "reference.source", "", '"Maß"'), (5, "run.time_limit", "1.0", "")])
    found.flush()
    assert (tmp_path / "chain.h5").read_bytes() == bytes_of
    found.truncate(4)
    assert [change[0] for change in found.changes] == [2, 2, 4]


def test_empty_chain_comes_back(tmp_path):
    EnsembleFile.create(tmp_path / "chain.h5", "", "0.1").flush()
    chain = EnsembleFile.open(tmp_path / "chain.h5")
    assert (len(chain.records), chain.observables, chain.card_text) == (0, {}, "")


def test_chain_refuses_what_does_not_fit(tmp_path):
    chain = small_chain(tmp_path / "chain.h5")
    for wrong in (lambda: chain.append(record(6)), lambda: chain.append({"trajectory": 7}),
                  lambda: chain.append_observable("plaquette", 6, 0.5),
                  lambda: chain.append_observable("plaquette", 7, 0.5j),
                  lambda: chain.append_observable("plaquette", 7, [0.5, 0.5]),
                  lambda: chain.append_observable("a/b", 7, 0.5), lambda: chain.append_observable("text", 7, "half")):
        with pytest.raises(ValueError):
            wrong()
    assert same_chain(chain, EnsembleFile.open(tmp_path / "chain.h5"))
    with pytest.raises(InputError, match="slhmc resume"):
        EnsembleFile.create(tmp_path / "chain.h5", CARD, "0.1")


# Damage and mistakes are seen

@kinds
def test_any_flipped_bit_is_seen(tmp_path, kind):
    path = tmp_path / "file.h5"
    SAVE[kind](path)
    content, rng = path.read_bytes(), random.Random(2)
    header = [(byte, 1 << rng.randrange(8)) for byte in range(0, 512, 3)]
    body = [(rng.randrange(len(content)), 1 << rng.randrange(8)) for _ in range(400)]
    for byte, bit in header + body:
        damaged = bytearray(content)
        damaged[byte] ^= bit
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"file\.h5: .*(copy|check the path|version)"):
            LOAD[kind](path)


@kinds
def test_any_truncation_or_growth_is_seen(tmp_path, kind):
    path = tmp_path / "file.h5"
    SAVE[kind](path)
    content, rng = path.read_bytes(), random.Random(3)
    for size in [0, 1, 8, 511, 512, 513, len(content) - 1] + [rng.randrange(len(content)) for _ in range(100)]:
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match="truncated|empty"):
            LOAD[kind](path)
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="too long"):
        LOAD[kind](path)


@kinds
def test_zeroed_blocks_and_foreign_edits_are_seen(tmp_path, kind):
    path = tmp_path / "file.h5"
    SAVE[kind](path)
    content = path.read_bytes()
    for start in range(0, len(content) - 512, 512):
        if any(content[start:start + 512]):
            path.write_bytes(content[:start] + bytes(512) + content[start + 512:])
            with pytest.raises(InputError):
                LOAD[kind](path)
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "edited"
    with pytest.raises(InputError, match="edited by another program|too long"):
        LOAD[kind](path)


@kinds
def test_wrong_files_are_refused_in_words(tmp_path, kind):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["links"] = random_links()
    (tmp_path / "text.h5").write_text("extent = 4\n" * 100)
    SAVE["links" if kind != "links" else "chain"](tmp_path / "other.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    for name, words in [("missing.h5", "no such file.*check the path"), ("foreign.h5", "save_links"),
                        ("text.h5", "not an HDF5 file"), ("other.h5", f"a {kind} file expected"),
                        (".", "not a regular file"), ("pipe.h5", "not a regular file"),
                        ("text.h5/below.h5", "file where a directory was expected")]:
        with pytest.raises(InputError, match=words):
            LOAD[kind](tmp_path / name)


@kinds
def test_sealed_file_with_other_contents_is_refused(tmp_path, kind):
    write_sealed(tmp_path / "file.h5", kind, lambda file: file.create_dataset("links", data=[1.0]))
    with pytest.raises(InputError, match="not those of a"):
        LOAD[kind](tmp_path / "file.h5")


@kinds
def test_file_of_another_format_names_the_cure(tmp_path, kind):
    SAVE[kind](tmp_path / "file.h5")
    content = (tmp_path / "file.h5").read_bytes()
    (tmp_path / "file.h5").write_bytes(content.replace(b"format 1", b"format 2", 1))
    with pytest.raises(InputError, match="format 2 found, 1 expected.*version of slhmc that wrote it"):
        LOAD[kind](tmp_path / "file.h5")


@kinds
def test_unreadable_file_is_refused_in_words(tmp_path, kind, monkeypatch):
    SAVE[kind](tmp_path / "file.h5")

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="cannot be read: permission denied; ask its owner"):
        LOAD[kind](tmp_path / "file.h5")


def test_wrong_lattice_and_wrong_group_are_refused(tmp_path):
    save_links(tmp_path / "cfg.h5", random_links((2, 4), 2))
    with pytest.raises(InputError, match=r"2x4 found, 4x2 expected; change \[lattice\] extent"):
        load_links(tmp_path / "cfg.h5", extent=(4, 2))
    with pytest.raises(InputError, match=r"SU\(2\) found, SU\(3\) expected"):
        load_links(tmp_path / "cfg.h5", extent=[2, 4], colors=3)


def outside_the_group():
    links = random_links()
    stretched, rotated, infinite = links.copy(), links.copy(), links.copy()
    stretched[2, 1, 0] *= 1 + 1e-8
    rotated[3, 0, 1] *= np.exp(1e-3j)
    infinite[0, 0, 0, 0, 0] = np.nan
    return [(stretched, "not unitary"), (rotated, r"in U\(2\), not SU\(2\)"), (infinite, "not finite in slice 0")]


@pytest.mark.parametrize(("links", "words"), outside_the_group(), ids=["stretched", "rotated", "infinite"])
def test_links_outside_the_group_are_neither_written_nor_read(tmp_path, links, words):
    path = tmp_path / "cfg.h5"
    save_links(path, random_links())
    for save in (lambda: save_links(path, links), lambda: save_checkpoint(path, links, 1, {}, OWNER)):
        with pytest.raises(ComputationError, match=f"not written: .*{words}"):
            save()
    assert np.array_equal(load_links(path)[0], random_links())

    def fill(file):
        file["links"] = links
        file.attrs["extent"], file.attrs["colors"] = (2, 4), 2

    write_sealed(path, "links", fill)
    with pytest.raises(InputError, match=words):
        load_links(path)


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (4, 2, 3, 2, 2), (4, 2, 2, 2, 3), (4, 2, 2, 1, 1), (0, 2, 2, 2, 2)])
def test_arrays_that_are_no_links_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="shape"):
        save_links(tmp_path / "cfg.h5", np.ones(shape))
    with pytest.raises(ValueError, match="taken from the shape"):
        save_links(tmp_path / "cfg.h5", random_links(), colors=2)
    assert not list(tmp_path.iterdir())
