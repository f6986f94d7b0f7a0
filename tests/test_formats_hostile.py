"""Files of links whose writers meant harm, or wrote less than they claim; and files that must not be written."""

import os
import time
import tracemalloc

import numpy as np
import pytest
from link_files import EXTENT, ildg, lime_record, link_trace, milc, nersc, parts, plaquette, put, random_links, write
from running import refusal, slhmc_command

from slhmc.errors import ComputationError, InputError
from slhmc.io import save_links
from slhmc.io.atomic import replace_file
from slhmc.io.formats import examine
from slhmc.io.sealed import write_sealed

LINKS = random_links()
CPU_SECONDS = 5  # a header takes a millisecond


def fault(path):
    with pytest.raises(InputError) as caught:
        examine(path)
    return str(caught.value)


# ---- reading
def test_blanks_in_a_header_take_no_time(tmp_path):
    path = put(tmp_path, b"BEGIN_HEADER\nDATATYPE = " + b" " * 60000 + b"x" * 300 + b"\nEND_HEADER\n")
    begin = time.process_time()
    assert "DATATYPE = nothing found" in fault(path)
    assert time.process_time() - begin < CPU_SECONDS


@pytest.mark.parametrize("claim", ["0", "1", "0e0", "6e2"])
def test_a_claim_of_few_digits_is_still_one(tmp_path, claim):
    """Of a plaquette of 0.57; %g leaves zeros out, so that 1 is what a file of unit links says."""
    links = np.broadcast_to(np.eye(3, dtype=complex), LINKS.shape).copy()
    links[..., 0, :, :] = LINKS[..., 0, :, :]
    links[..., 1, :, :] = LINKS[..., 0, :, :]
    found = examine(put(tmp_path, nersc(links, PLAQUETTE=claim)))
    assert 0.05 < found.plaquette < 0.95 and found.faults[0].startswith("plaquette: ")


def test_unit_links_say_one(tmp_path):
    links = np.broadcast_to(np.eye(3, dtype=complex), LINKS.shape)
    path = write(tmp_path / "links", links, "nersc")
    assert b"PLAQUETTE = 1\n" in path.read_bytes() and examine(path).faults == ()


def usqcd_info(plaquette_text, trace_text, kind="scidac-record-xml"):
    xml = (f'<?xml version="1.0" encoding="UTF-8"?><usqcdInfo><version>1.0</version><plaq>{plaquette_text}</plaq>'
           f"<linktr>{trace_text}</linktr><info>beta</info></usqcdInfo>")
    return ildg(LINKS, extra=[lime_record(kind, xml.encode())])


@pytest.mark.parametrize("kind", ["scidac-record-xml", "scidac-file-xml"])
def test_plaquette_and_link_trace_of_usqcd_records_are_checked(tmp_path, kind):
    right = f"{plaquette(LINKS):.6e}", f"{link_trace(LINKS):.6e}"
    found = examine(put(tmp_path, usqcd_info(*right, kind)))
    assert found.faults == () and found.description.plaquette.value == float(right[0])
    assert found.description.link_trace.value == float(right[1])
    faults = examine(put(tmp_path, usqcd_info("5.711e-01", right[1], kind))).faults
    assert len(faults) == 1 and faults[0].startswith("plaquette: ")
    faults = examine(put(tmp_path, usqcd_info(right[0], "1.0e-01", kind))).faults
    assert len(faults) == 1 and faults[0].startswith("link trace: ")
    assert examine(put(tmp_path, usqcd_info("missing", "missing", kind))).faults == ()


def test_a_long_record_of_other_programs_is_passed_over(tmp_path):
    data = ildg(LINKS, extra=[lime_record("scidac-record-xml", b"<usqcdInfo><plaq>1</plaq>" + b" " * (1 << 17))])
    assert examine(put(tmp_path, data)).faults == ()


@pytest.mark.parametrize("data", [nersc(LINKS, ENSEMBLE_ID="\x1b[31mred\x07"), nersc(LINKS, DATATYPE="\x1b[31mred\x07"),
                                  ildg(LINKS, extra=[lime_record("\x1b[31mred\x07", b"")]),
                                  milc(LINKS).replace(b"Thu Feb", b"\x1b[31m\x07 ")])
def test_a_header_sends_no_commands_to_the_terminal(tmp_path, capsys, data):
    slhmc_command("inspect", put(tmp_path, data))
    told = capsys.readouterr()
    assert "[31m" in told.out + told.err and all(letter.isprintable() or letter == "\n" for letter in told.out + told.err)


def test_words_in_our_own_files_send_none_either(tmp_path, capsys):
    save_links(tmp_path / "links.h5", LINKS, origin="\x1b[31mred\x07")
    assert slhmc_command("inspect", tmp_path / "links.h5") == 0
    told = capsys.readouterr().out
    assert "[31mred" in told and "\x1b" not in told and "\x07" not in told


@pytest.mark.parametrize("options", [("--extent", "4x4x4x4"), ("--colors", 2)])
def test_options_that_contradict_the_file(tmp_path, capsys, options):
    path = put(tmp_path, nersc(LINKS))
    assert "leave --extent and --colors out" in refusal(capsys, "inspect", path, *options)
    assert "leave --extent and --colors out" in refusal(capsys, "convert", path, tmp_path / "a.npy", *options)
    assert slhmc_command("inspect", path, "--extent", "x".join(map(str, EXTENT)), "--colors", 3) == 0


@pytest.mark.parametrize("layout", [{}, {"chunks": (1, 1, 1, 1, 4, 3, 3)}, {"dtype": "f8"}])
def test_a_sealed_file_of_absurd_size_takes_no_memory(tmp_path, layout):
    """HDF5 takes a dataset of gigabytes whose numbers were never written."""
    def fill(file):
        file.create_dataset("links", shape=(64, 64, 64, 64, 4, 3, 3), **{"dtype": "c16"} | layout)
        file.attrs["extent"], file.attrs["colors"] = (64, 64, 64, 64), 3
    write_sealed(tmp_path / "links.h5", "links", fill)
    tracemalloc.start()
    try:
        assert "not those of a links file" in fault(tmp_path / "links.h5")
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_group_of_absurd_size(tmp_path):
    np.save(tmp_path / "links.npy", np.broadcast_to(np.eye(65, dtype=complex), (1, 1, 2, 65, 65)).copy())
    assert "SU(65) found, at most SU(64)" in fault(tmp_path / "links.npy")


def test_parts_in_a_directory_that_cannot_be_listed(tmp_path, monkeypatch):
    path = put(tmp_path, parts(LINKS)[0], "lat.vol0000")

    def refuse(folder):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(type(path), "iterdir", refuse)
    assert "permission denied" in fault(path)


# ---- writing
@pytest.mark.parametrize("name", ["npy", "ildg", "nersc", "nersc-2x3", "openqcd", "slhmc"])
@pytest.mark.parametrize("links", [LINKS * np.nan, LINKS * 1.001, LINKS * np.exp(0.5j)], ids=["nan", "scaled", "phase"])
def test_what_no_reader_would_take_is_not_written(tmp_path, name, links):
    with pytest.raises(ComputationError, match=r"not written: links are not in SU\(3\)"):
        write(tmp_path / "links", links, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["single", "double"])
def test_two_rows_of_links_that_are_not_quite_unitary(tmp_path, precision):
    """The header tells of the links that a reader makes of two rows; if these would be refused, nothing is written."""
    found = examine(write(tmp_path / "links", LINKS * (1 + 2e-6), "nersc-2x3", precision))
    assert found.faults == () and found.deviation > 5e-6
    with pytest.raises(ComputationError, match="once the third row is computed; use nersc, with all rows"):
        write(tmp_path / "worse", LINKS * (1 + 4e-6), "nersc-2x3", precision)
    assert examine(write(tmp_path / "all", LINKS * (1 + 4e-6), "nersc", precision)).faults == ()


def test_pipes_and_devices_are_left_alone(tmp_path, capsys):
    path = put(tmp_path, nersc(LINKS))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        assert "not a regular file" in refusal(capsys, "convert", path, tmp_path / name, "--format", "npy")
        with pytest.raises(InputError, match="not a regular file"):
            replace_file(tmp_path / name, [b"x"])
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "links", "pipe"]


def test_files_of_runs_are_not_replaced(tmp_path, capsys):
    path, configs = put(tmp_path, nersc(LINKS)), tmp_path / "run" / "configs"
    configs.mkdir(parents=True)
    (configs.parent / "card.toml").touch()
    write_sealed(configs.parent / "chain.h5", "chain", lambda file: None)
    for name in ("cfg_000001.h5", "../other.h5"):
        save_links(configs / name, LINKS)
    before = [(configs / name).read_bytes() for name in ("../chain.h5", "cfg_000001.h5", "../other.h5")]
    assert "an slhmc chain file is there" in refusal(capsys, "convert", path, configs.parent / "chain.h5")
    assert "a configuration of the run in" in refusal(capsys, "convert", path, configs / "cfg_000001.h5")
    assert slhmc_command("convert", path, configs.parent / "other.h5") == 0
    after = [(configs / name).read_bytes() for name in ("../chain.h5", "cfg_000001.h5", "../other.h5")]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False]


def test_write_protected_files_are_left_alone(tmp_path, capsys):
    path, kept = put(tmp_path, nersc(LINKS)), tmp_path / "kept.npy"
    kept.write_bytes(b"mine")
    kept.chmod(0o444)
    (tmp_path / "link.npy").symlink_to(kept)
    for name in ("kept.npy", "link.npy"):
        assert "write-protected; chmod u+w" in refusal(capsys, "convert", path, tmp_path / name)
        with pytest.raises(InputError, match="write-protected"):
            replace_file(tmp_path / name, [b"theirs"])
    assert kept.read_bytes() == b"mine"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, capsys):
    """By a limit on the size of files, as if the disk was full."""
    resource = pytest.importorskip("resource")
    path, old = put(tmp_path, nersc(LINKS)), put(tmp_path, b"old", "old.npy")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for name in ("npy", "ildg", "nersc", "openqcd", "slhmc"):
            message = refusal(capsys, "convert", path, old, "--format", name)
            assert "file too large" in message and "the file that was there is unchanged" in message
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert old.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
