"""Files of links of other programs: against bytes built from the descriptions, round trips, and each check that must fail."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cards import gauge, run_table
from link_files import (
    EXTENT,
    ildg,
    ildg_format,
    lime_record,
    link_trace,
    milc,
    nersc,
    openqcd,
    parts,
    plaquette,
    put,
    random_links,
    site_strings,
    write,
)
from running import ROOT, refusal, slhmc_command

from slhmc import simulation
from slhmc.errors import InputError
from slhmc.io import load_checkpoint, load_configuration, load_links, save_links
from slhmc.io.formats import NAMES, examine, format_of
from slhmc.io.formats.matrices import project
from slhmc.lattice import GaugeField, Lattice, line_trace, rectangle_sum
from slhmc.runcard import parse_card

LINKS = random_links()
REAL = Path(os.environ.get("REAL_CONFIGURATIONS", ROOT.parent / "shared" / "configs"))
FOREIGN = {"ildg": ildg(LINKS), "ildg-single": ildg(LINKS, bits=32), "nersc-2x3": nersc(LINKS), "nersc": nersc(LINKS, rows=3),
           "nersc-single": nersc(LINKS, real=">f"), "nersc-little": nersc(LINKS, real="<d"), "milc": milc(LINKS),
           "milc-big": milc(LINKS, order=">"), "openqcd": openqcd(LINKS)}


def fault(path, *arguments):
    with pytest.raises(InputError) as caught:
        load_configuration(path, *arguments)
    return str(caught.value)


# ---- bytes built from the descriptions
@pytest.mark.parametrize("kind", FOREIGN)
def test_files_built_by_hand_are_read(tmp_path, kind):
    single = kind in ("ildg-single", "nersc-single", "milc", "milc-big")
    path = put(tmp_path, FOREIGN[kind])
    links, description = load_configuration(path, EXTENT, 3)
    assert (description.extent, description.colors) == (EXTENT, 3)
    assert description.precision == ("single" if single else "double")
    if single:
        assert np.abs(links - LINKS).max() < 3e-7
    elif kind in ("nersc-2x3", "nersc-little"):  # the third row is computed
        assert np.array_equal(links[..., :2, :], LINKS[..., :2, :])
        assert np.abs(links - LINKS).max() < 1e-14
    else:
        assert np.array_equal(links, LINKS)
    found = examine(path)
    assert found.faults == () and found.checksum_state == ("none" if kind == "openqcd" else "verified")
    assert found.plaquette == pytest.approx(plaquette(found.part.links.astype(complex)), abs=1e-13)
    assert found.link_trace == pytest.approx(link_trace(found.part.links.astype(complex)), abs=1e-13)


@pytest.mark.parametrize("kind", ["nersc", "nersc-2x3", "milc", "openqcd", "ildg"])
def test_what_is_written_has_the_bytes_of_the_description(tmp_path, kind):
    """All but free text of headers: MILC and openQCD whole, NERSC and ILDG from the links on."""
    written = write(tmp_path / "links", LINKS, kind, "single" if kind == "milc" else None).read_bytes()
    expected = FOREIGN[kind]
    if kind == "ildg":
        binary = b"".join(site_strings(LINKS, EXTENT, ">d"))
        assert binary in written and expected.split(b"<suma>")[1] [:26] == written.split(b"<suma>")[1][:26]
    elif kind.startswith("nersc"):
        end, keys = b"END_HEADER\n", (b"CHECKSUM", b"DATATYPE")
        assert written.split(end, 1)[1] == expected.split(end, 1)[1]
        for key in keys:
            values = [text.split(key + b" = ")[1].split(b"\n")[0].lstrip(b"0") for text in (written, expected)]
            assert values[0] == values[1]
    else:
        known, start = (20, 84) if kind == "milc" else (16, 24)  # around time stamp or plaquette
        assert written[:known] == expected[:known] and written[start:] == expected[start:]


def test_a_scidac_file_needs_no_ildg_record(tmp_path):
    """Its private records tell lattice and group."""
    path = write(tmp_path / "a.ildg", LINKS, "ildg")
    data = path.read_bytes()
    changed = data.replace(b"ildg-format", b"some-format").replace(b"ildg-binary-data\0\0", b"scidac-binary-data")
    links, description = load_configuration(put(tmp_path, changed))
    assert description.format == "scidac" and np.array_equal(links, LINKS)


def test_a_file_with_nothing_but_links_is_read_with_the_callers_lattice(tmp_path):
    links = random_links((4, 2, 2, 4), 2)
    path = put(tmp_path, lime_record("ildg-binary-data", b"".join(site_strings(links, (4, 2, 2, 4), ">d"))))
    assert "give --extent and --colors" in fault(path)
    assert np.array_equal(load_configuration(path, (4, 2, 2, 4), 2)[0], links)
    assert "bytes of links found" in fault(path, (4, 2, 2, 4), 3)


def test_the_plaquette_of_other_programs_records_is_checked(tmp_path):
    def with_claim(value):
        return put(tmp_path, ildg(LINKS, extra=[lime_record("xlf-info", f"plaquette = {value}\n beta = 5.6".encode())]))
    assert load_configuration(with_claim(f"{plaquette(LINKS):.6f}"))[1].plaquette is not None
    assert "plaquette" in fault(with_claim("0.571077"))


def put_parts(folder, files):
    folder.mkdir()
    return [put(folder, data, f"lat.vol{2 * number:04d}") for number, data in enumerate(files)]


@pytest.mark.parametrize("bits", [32, 64])
def test_scidac_files_in_parts(tmp_path, bits):
    """Given by any of the parts."""
    for path in put_parts(tmp_path / "all", parts(LINKS, bits=bits)):
        found = examine(path)
        assert found.faults == () and found.checksum_state == "verified" and found.description.extent == EXTENT
        assert np.array_equal(found.part.links, LINKS.astype(np.complex64 if bits == 32 else np.complex128))


def test_parts_that_do_not_belong_together(tmp_path):
    good, other = parts(LINKS), parts(LINKS, seed=6)
    assert "bring all parts" in fault(put_parts(tmp_path / "lost", good[:2])[0])
    assert "the first part" in fault(put_parts(tmp_path / "headless", good[1:])[0])
    assert "there twice" in fault(put_parts(tmp_path / "mixed", [good[0], other[1], good[2]])[0])
    assert "truncated" in fault(put_parts(tmp_path / "short", [good[0], good[1][:-1], good[2]])[0])
    damaged = bytearray(good[1])
    damaged[-3] ^= 1
    assert "checksum" in fault(put_parts(tmp_path / "damaged", [good[0], bytes(damaged), good[2]])[0])
    damaged = bytearray(good[1])
    damaged[144:148] = b"\xff" * 4
    assert "list of sites is damaged" in fault(put_parts(tmp_path / "numbers", [good[0], bytes(damaged), good[2]])[0])
    assert "the name NAME.volNNNN" in fault(put(tmp_path, good[0]))


# ---- round trips
@pytest.mark.parametrize("precision", ["single", "double"])
def test_links_survive_the_way_through_all_formats(tmp_path, precision):
    links = LINKS.astype(np.complex64) if precision == "single" else LINKS
    names = [name for name in NAMES if name not in ("slhmc", "milc", "nersc-2x3")]
    path = write(tmp_path / "first", links, "npy")
    for name in [*names, "milc" if precision == "single" else "slhmc", *reversed(names)]:
        found = examine(path)
        assert found.faults == () and np.array_equal(found.part.links, links)
        path = write(tmp_path / name, found.part.in_precision(precision).links, name)
    assert np.array_equal(np.load(write(tmp_path / "last.npy", examine(path).part.links, "npy")), links)


def test_two_rows_are_enough(tmp_path):
    found = examine(write(tmp_path / "links", LINKS, "nersc-2x3"))
    assert found.faults == () and np.abs(found.part.links - LINKS).max() < 1e-14


@pytest.mark.parametrize(("extent", "colors", "name"), [((4, 6), 2, "npy"), ((2, 4, 6), 4, "npy"), ((4, 6), 3, "slhmc"),
                                                       ((2, 2, 2, 4), 2, "nersc"), ((2, 2, 2, 4), 2, "ildg"),
                                                       ((2, 2, 2, 4), 5, "nersc"), ((2, 3, 5, 7), 3, "milc")])
def test_other_lattices_and_groups(tmp_path, extent, colors, name):
    links = random_links(extent, colors)
    path = write(tmp_path / "links", links, name, "single" if name == "milc" else None)
    found, description = load_configuration(path, extent, colors)
    assert (description.extent, description.colors) == (extent, colors)
    assert np.abs(found - links).max() < (3e-7 if name == "milc" else 1e-15)


@pytest.mark.parametrize(("extent", "colors", "name", "words"), [
    ((4, 6), 3, "ildg", "four dimensions"), ((2, 2, 2, 2), 2, "milc", "SU(3)"), ((2, 2, 2, 3), 3, "openqcd", "even extents"),
    ((2, 2, 2, 2), 2, "nersc-2x3", "SU(3)"), ((2, 2, 2, 2), 3, "milc", "--precision single"),
    ((2, 2, 2, 2), 3, "xml", "expected")])
def test_what_a_format_cannot_hold_is_refused(tmp_path, extent, colors, name, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(").replace(")", r"\)")):
        write(tmp_path / "links", random_links(extent, colors), name)
    assert list(tmp_path.iterdir()) == []


def test_equal_links_give_equal_files(tmp_path):
    for name in NAMES:
        files = [write(tmp_path / f"{k}.{name}", LINKS, name, "single" if name == "milc" else None) for k in (1, 2)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_single_precision_becomes_unitary(tmp_path):
    links, description = load_configuration(put(tmp_path, milc(LINKS)))
    assert description.precision == "single"
    save_links(tmp_path / "links.h5", links)
    assert np.array_equal(load_links(tmp_path / "links.h5")[0], links)
    assert np.abs(project(LINKS) - LINKS).max() < 1e-14


# ---- each check fails by its name
def changed(kind, **changes):
    return {"ildg": ildg, "nersc": nersc, "milc": milc, "openqcd": openqcd}[kind](LINKS, **changes)


@pytest.mark.parametrize(("data", "name"), [
    (changed("ildg", checksum=(1, 2)), "checksum"), (changed("nersc", CHECKSUM="1234"), "checksum"),
    (changed("milc", sums=(1, 2)), "checksum"), (changed("nersc", PLAQUETTE="0.5"), "plaquette"),
    (changed("nersc", PLAQUETTE="nan"), "plaquette"), (changed("nersc", LINK_TRACE="0.010000"), "link trace"),
    (changed("openqcd", claimed=0.1), "plaquette"), (changed("openqcd", claimed=float("nan")), "plaquette"),
    (ildg(LINKS * 1.01), "unitarity"), (ildg(LINKS * np.exp(0.5j)), "unitarity"), (ildg(LINKS * np.nan), "unitarity"),
    (nersc(LINKS, DATATYPE="4D_SU3_GAUGE_3x3"), "truncated"), (nersc(LINKS, FLOATING_POINT="IEEE64LITTLE"), "other byte order"),
    (nersc(LINKS, FLOATING_POINT="IEEE32"), "too long"), (openqcd(LINKS)[:-1], "formats"), (milc(LINKS) + b"x", "too long"),
    (ildg(LINKS)[:-300], "truncated"), (b"", "empty file"), (b"\x89HDF\r\n\x1a\n" + bytes(600), "not written by slhmc"),
    (ildg(LINKS, extra=[lime_record("scidac-private-file-xml", b"<volfmt>2</volfmt>")]), "list of sites")])
def test_what_is_wrong_is_said(tmp_path, data, name):
    message = fault(put(tmp_path, data))
    assert name in message and str(tmp_path) in message


def test_one_wrong_link_is_found(tmp_path):
    links = LINKS.copy()
    links[3, 1, 2, 0, 2] *= 1.001
    for kind in (ildg, openqcd):
        assert "unitarity: 1 links" in fault(put(tmp_path, kind(links)))


@pytest.mark.parametrize("kind", ["ildg", "nersc", "milc", "openqcd"])
def test_lattice_and_group_of_the_caller_are_checked(tmp_path, kind):
    path = put(tmp_path, FOREIGN[kind])
    assert "lattice 2x4x2x6 found, 4x2x2x6 expected" in fault(path, (4, 2, 2, 6), 3)
    assert "SU(3) found, SU(2) expected" in fault(path, EXTENT, 2)


def test_records_of_one_file_must_agree(tmp_path):
    data = write(tmp_path / "a.ildg", LINKS, "ildg").read_bytes()
    assert "disagree" in fault(put(tmp_path, data.replace(b"<ly>4<", b"<ly>2<")))
    assert "SciDAC records" in fault(put(tmp_path, data.replace(b"<datacount>4<", b"<datacount>1<")))
    assert "one expected" in fault(put(tmp_path, lime_record("ildg-format", ildg_format(EXTENT, 64))))


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2, 2, 4, 3, 3)), np.zeros((2, 2, 3, 3), complex),
                                   np.asfortranarray(LINKS), np.array([None]), np.zeros(3, "c8,i4")], ids=lambda a: str(a.dtype))
def test_other_arrays_are_refused(tmp_path, array):
    np.save(tmp_path / "links.npy", array, allow_pickle=True)
    assert "found" in fault(tmp_path / "links.npy") or "damaged" in fault(tmp_path / "links.npy")


# ---- commands
def test_inspect_and_convert(tmp_path, capsys):
    path = put(tmp_path, FOREIGN["nersc"], "lat.nersc")
    assert slhmc_command("inspect", path) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("nersc", "2x4x2x6, SU(3), double", "verified", "|U U^+ - 1|"))
    for suffix in ("ildg", "npy", "openqcd", "h5"):
        assert slhmc_command("convert", path, tmp_path / f"lat.{suffix}") == 0
    assert slhmc_command("convert", tmp_path / "lat.openqcd", tmp_path / "lat", "--format", "milc", "--precision", "single") == 0
    capsys.readouterr()
    assert slhmc_command("inspect", tmp_path / "lat.ildg", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["extent"], told["colors"], told["precision"]) == ("ildg", list(EXTENT), 3, "double")
    assert told["checksum_state"] == "verified" and told["faults"] == [] and told["deviation"] < 1e-13
    assert told["plaquette"] == pytest.approx(plaquette(LINKS), abs=1e-13)
    assert np.array_equal(load_links(tmp_path / "lat.h5")[0], LINKS)


@pytest.mark.parametrize(("source", "target", "words"), [
    ("a.npy", ("b.nersc", "--precision", "single"), "nersc, single precision; of npy, 2x4x2x6, SU(3), double precision, "),
    ("b.nersc", ("c.ildg",), "ildg, single precision; of nersc, 2x4x2x6, SU(3), single precision, "),
    ("b.nersc", ("d.h5",), "slhmc, double precision; of nersc, 2x4x2x6, SU(3), single precision, ")])
def test_convert_tells_the_precision_of_both_files(tmp_path, capsys, source, target, words):
    np.save(tmp_path / "a.npy", LINKS)
    assert slhmc_command("convert", tmp_path / "a.npy", tmp_path / "b.nersc", "--precision", "single") == 0
    capsys.readouterr()
    assert slhmc_command("convert", tmp_path / source, tmp_path / target[0], *target[1:]) == 0
    assert words in capsys.readouterr().out
    capsys.readouterr()
    assert slhmc_command("inspect", tmp_path / target[0], "--json") == 0
    assert json.loads(capsys.readouterr().out)["precision"] == words.split()[1]


def test_converted_links_keep_their_trajectory(tmp_path, capsys):
    save_links(tmp_path / "a.h5", LINKS, trajectory=120)
    for source, target, words in (("a.h5", "b.nersc", "SEQUENCE_NUMBER = 120\n"), ("b.nersc", "c.h5", ""), ("c.h5", "d.h5", "")):
        assert slhmc_command("convert", tmp_path / source, tmp_path / target) == 0
        assert words.encode() in (tmp_path / target).read_bytes()
    assert load_links(tmp_path / "d.h5")[1]["trajectory"] == 120
    assert slhmc_command("convert", put(tmp_path, FOREIGN["ildg"], "e.ildg"), tmp_path / "f.nersc") == 0
    assert b"SEQUENCE_NUMBER = 0\n" in (tmp_path / "f.nersc").read_bytes()


def test_commands_refuse_bad_files(tmp_path, capsys):
    path = put(tmp_path, nersc(LINKS, PLAQUETTE="0.5"))
    assert "plaquette" in refusal(capsys, "convert", path, tmp_path / "out.npy")
    assert slhmc_command("inspect", path, "--json") == 2
    told = capsys.readouterr()
    assert "plaquette" in json.loads(told.out)["faults"][0] and "plaquette" in told.err
    assert "--format" in refusal(capsys, "convert", path, tmp_path / "out.xyz")
    assert "--extent" in refusal(capsys, "inspect", path, "--extent", "4x4xx4")
    assert "not a regular file" in refusal(capsys, "inspect", tmp_path)
    assert "check the path" in refusal(capsys, "inspect", tmp_path / "nothing")
    assert "make the directory first" in refusal(capsys, "convert", put(tmp_path, FOREIGN["ildg"]), tmp_path / "no" / "a.npy")
    assert format_of("a/b.lime") == "ildg"


START = gauge((2, 2, 2, 4), 5.7, colors=3) + "[heat_bath]\n" + run_table(start="file", start_file="links", trajectories=1, seed=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_starts_from_a_file_of_any_format(tmp_path, name):
    links = random_links((2, 2, 2, 4))
    path = write(tmp_path / "links", links, name, "single" if name == "milc" else None)
    card = parse_card(START, "card.toml", [f"run.start_file={str(path)!r}"])
    simulation.create(card, tmp_path / "run")
    start, trajectory, _ = load_checkpoint(tmp_path / "run" / "checkpoint.h5")
    assert trajectory == 0 and np.abs(start - links).max() < (3e-7 if name == "milc" else 1e-13)
    with pytest.raises(InputError, match="lattice 2x2x2x4 found, 4x2x2x4 expected"):
        simulation.create(parse_card(START, "card.toml", [f"run.start_file={str(path)!r}", "lattice.extent=[4,2,2,4]"]),
                          tmp_path / "other")


# ---- real files of other programs, which are not ours to copy
KNOWN = {  # extent, colors, plaquette, its accuracy, checksum
    "conf.00200": ((4, 4, 4, 4), 3, 0.57107711169452713, 1e-14, "a3b09c8 d7a6d9a1"),
    "lat.400.nersc": ((4, 4, 4, 8), 3, 0.5985455591, 1e-10, "f2ee7c36"),
    "lat.sample.l4444": ((4, 4, 4, 4), 3, 0.594850158947, 1e-12, "2352c05 d137321d"),
    "lat.sample.l4444.ildg": ((4, 4, 4, 4), 3, 0.594850158947, 1e-12, "37affb9c 2fc07bbf"),
    "lat.sample.l4444.scidac": ((4, 4, 4, 4), 3, 0.594850158947, 1e-12, "37affb9c 2fc07bbf"),
    "su2_quenched_bare.ildg": ((4, 4, 4, 4), 2, 0.476138110632, 1e-12, None)}
real_files = pytest.mark.skipif(not REAL.is_dir(),
                                reason="no configurations of other programs in REAL_CONFIGURATIONS or beside this repository")


@real_files
@pytest.mark.parametrize("name", KNOWN)
def test_real_configurations_have_their_known_values(name):
    extent, colors, value, accuracy, checksum = KNOWN[name]
    found = examine(REAL / name, extent, colors)
    assert (found.description.extent, found.description.colors, found.faults) == (extent, colors, ())
    assert found.plaquette == pytest.approx(value, abs=accuracy)
    assert found.checksum_state == ("none" if checksum is None else "verified")
    assert checksum in (None, found.checksum)


@real_files
def test_milcs_own_two_files_are_the_same_after_conversion(tmp_path):
    """The SciDAC checksum of what we convert is that of MILC's own ILDG file."""
    path = write(tmp_path / "links", examine(REAL / "lat.sample.l4444").part.links, "ildg")
    assert examine(path).checksum == KNOWN["lat.sample.l4444.ildg"][-1]
    assert np.array_equal(examine(path).part.links, examine(REAL / "lat.sample.l4444.scidac").part.links)


@real_files
@pytest.mark.parametrize(("name", "rectangles", "loop"), [
    ("conf.00200", 1103.2398401620451, -0.11349672123636857 + 0.22828243566855227j),
    ("lat.sample.l4444", None, 0.4312303596 - 0.0008177552j)])
def test_loops_of_real_configurations(name, rectangles, loop):
    """Sum of Re tr of rectangles over Nc, and the mean Polyakov loop in time, by the engine."""
    U = GaugeField(Lattice((4, 4, 4, 4)), 3)
    U.from_sites(load_configuration(REAL / name, (4, 4, 4, 4), 3)[0])
    line = U.lattice.device.to_host(line_trace(U, 3)) / (3 * U.lattice.sites)
    assert complex(*line) == pytest.approx(loop, abs=1e-13 if rectangles else 1e-8)
    assert rectangles is None or float(rectangle_sum(U)) / 3 == pytest.approx(rectangles, rel=1e-13)
