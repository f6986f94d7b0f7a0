"""Files of links that are damaged, or made to do harm: an error or the right links, no traceback, and no memory."""

import random
import struct
import tracemalloc

import numpy as np
import pytest
from link_files import ildg, lime_record, milc, nersc, openqcd, parts, random_links

from slhmc.errors import InputError
from slhmc.io.formats import Part, examine, write_configuration

EXTENT = (2, 2, 2, 2)
LINKS = random_links(EXTENT)
MUTATIONS = 200
MEMORY = 2 << 20  # bytes; a whole file has some ten thousand
NAMES = ("ildg", "nersc", "nersc-2x3", "milc", "openqcd", "npy", "slhmc")
VERIFIED = {"ildg", "nersc", "nersc-2x3", "milc", "slhmc"}  # by a checksum
HEADERS = {"ildg": 1600, "nersc": 500, "nersc-2x3": 500, "milc": 96, "openqcd": 24, "npy": 128, "slhmc": 2048}
NUMBERS = (0, 1, -1, 2**31 - 1, -2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An undamaged file of each format: its bytes, and the links that are in it."""
    folder, result = tmp_path_factory.mktemp("files"), {}
    for name in NAMES:
        write_configuration(folder / name, Part(LINKS, len(LINKS)), name, "single" if name == "milc" else None)
        result[name] = (folder / name).read_bytes(), examine(folder / name).part.links
    return result


def mutate(data, rng, header):
    """One or a few of the ways in which files go wrong."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        where = rng.randrange(min(header, len(data)) if rng.random() < 0.7 else len(data)) if data else 0
        kind = rng.randrange(7)
        if kind == 0:
            del data[where:]
        elif kind == 1 and data:
            data[where] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[where:where + 8] = struct.pack(rng.choice("<>") + "Q", rng.choice(NUMBERS) % 2**64)[:len(data[where:where + 8])]
        elif kind == 3:
            del data[where:where + rng.randrange(1, 40)]
        elif kind == 4:
            data[where:where] = rng.randbytes(rng.randrange(1, 40))
        elif kind == 5:
            size = rng.choice((2, 4, 8))
            for begin in range(where, min(where + 64 * size, len(data) - size + 1), size):
                data[begin:begin + size] = data[begin:begin + size][::-1]
        else:
            digits = [k for k in range(min(header, len(data))) if 48 <= data[k] < 58]
            for k in rng.sample(digits, min(3, len(digits))):
                data[k:k + 1] = rng.choice((b"9", b"0", b"-", b"99999999", b"1e9", b"\xff", b"'"))
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_refused_or_right(name, files, tmp_path):
    data, links = files[name]
    rng, path, refused = random.Random(f"damage {name}"), tmp_path / "links", 0
    tracemalloc.start()
    try:
        for number in range(MUTATIONS):
            path.write_bytes(mutate(data, rng, HEADERS[name]))
            tracemalloc.reset_peak()
            try:
                found = examine(path)
            except InputError as error:
                assert str(path) in str(error), number
                refused += 1
                continue
            finally:
                assert tracemalloc.get_traced_memory()[1] < MEMORY, number
            if found.faults:
                refused += 1
            elif name in VERIFIED and found.checksum_state == "verified":
                assert np.array_equal(found.part.links, links), number
            else:  # what no checksum sees is still SU(3)
                assert found.deviation < 1e-5, number
    finally:
        tracemalloc.stop()
    assert refused > MUTATIONS // 2


def test_damaged_parts_are_refused_or_right(tmp_path):
    """One of three files is damaged: the one with the text, or another."""
    rng, good = random.Random("damaged parts"), parts(LINKS, EXTENT)
    paths, refused = [tmp_path / f"lat.vol{number:04d}" for number in range(3)], 0
    for number in range(MUTATIONS):
        which = number % 2
        for k, path in enumerate(paths):
            path.write_bytes(mutate(good[k], rng, 1200 if k == 0 else 500) if k == which else good[k])
        try:
            found = examine(paths[2])
        except InputError as error:
            assert str(tmp_path) in str(error), number
            refused += 1
            continue
        if found.faults:
            refused += 1
        elif found.checksum_state == "verified":
            assert np.array_equal(found.part.links, LINKS), number
    assert refused > MUTATIONS // 2


@pytest.mark.parametrize("name", sorted(VERIFIED))
def test_a_flipped_bit_among_the_links_is_seen(name, files, tmp_path):
    data, _ = files[name]
    rng, path = random.Random(f"bits {name}"), tmp_path / "links"
    for _ in range(50):
        damaged, where = bytearray(data), rng.randrange(HEADERS[name], len(data) - 400)
        damaged[where] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            faults = examine(path).faults
        except InputError:
            continue
        assert any("checksum" in fault for fault in faults)


def huge(path, head, size):
    """A file that begins like this and claims to be huge; the disk has only its beginning."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)
    return path


@pytest.mark.parametrize("lengths", [(64, 64, 64, 128), (256, 256, 256, 128), (2, 2, 2, 262144)])
@pytest.mark.parametrize("name", ["ildg", "nersc", "milc", "openqcd", "npy"])
def test_huge_files_of_nothing_cost_no_memory(name, lengths, tmp_path):
    """Header and size agree, up to 1.2 TB; the links are zeros."""
    sites, small = int(np.prod(lengths)), (2, 2, 2, 2)
    if name == "ildg":
        record = lime_record("ildg-binary-data", b"", size=sites * 576)
        data = ildg(LINKS, small)
        for axis, length in zip("xyzt", lengths, strict=True):
            data = data.replace(f"<l{axis}>2<".encode(), f"<l{axis}>{length}<".encode())
        data = data[144:data.index(b"ildg-binary-data") - 16]
        head = lime_record("ildg-format", data.rstrip(b"\0")) + record
        size = len(head) + sites * 576
    elif name == "nersc":
        head = nersc(LINKS, small, **{f"DIMENSION_{k}": length for k, length in enumerate(lengths, 1)})
        head = head[:head.index(b"END_HEADER\n") + 11]
        size = len(head) + sites * 384
    elif name == "milc":
        head = struct.pack("<5i", 20103, *lengths) + milc(LINKS, small)[20:96]
        size = 96 + sites * 288
    elif name == "openqcd":
        head = struct.pack("<4id", lengths[3], *lengths[:3], 1.0)
        size = 24 + sites * 576
    else:
        np.save(tmp_path / "small.npy", LINKS)
        shape = str((*reversed(lengths), 4, 3, 3))
        head = (tmp_path / "small.npy").read_bytes()[:10] + (
            f"{{'descr': '<c16', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n").encode()
        size = len(head) + sites * 576
    try:
        path = huge(tmp_path / "links", head, size)
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"no link of a block|do not fit into memory"):
            examine(path)
        touched = tracemalloc.get_traced_memory()[1] - (sites * 576 >> (name == "milc"))
    finally:
        tracemalloc.stop()
    assert touched < 200 << 20  # NumPy reserves the links, but nothing writes to them


def npy_header(kind, shape):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + text.ljust(117).encode() + b"\n"


@pytest.mark.parametrize("data", [
    lime_record("x", b"") * 5000,  # records without end
    lime_record("ildg-format", b"<field>" + b"su3gauge" * 20000) + lime_record("ildg-binary-data", b""),
    lime_record("ildg-format", b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'><!ENTITY c '&b;&b;&b;&b;'>]><field>&c;</field>")
    + lime_record("ildg-binary-data", b""),
    lime_record("ildg-binary-data", b"", size=2**64 - 1), lime_record("ildg-binary-data", b"", size=2**63),
    b"BEGIN_HEADER\n" + b"A = B\n" * 100000, b"BEGIN_HEADER\n" + b"=" * 1000000,
    b"BEGIN_HEADER\nEND_HEADER\n", struct.pack("<5i", 20103, -1, 4, 4, 4) + bytes(1000),
    struct.pack("<5i", 20103, 2**30, 2**30, 2**30, 2**30) + bytes(1000), struct.pack(">i", 20103),
    struct.pack("<4id", -2, -2, 2, 2, 1.0) + bytes(16 * 576), b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
    b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '<c16'", b"\x93NUMPY\x09\x00" + bytes(100),
    npy_header("|O", "(2, 2, 2, 2, 4, 3, 3)"),
    npy_header("<c16", "(-2, 2, 2, 2, 4, 3, 3)"),
    npy_header("<c16", "(True, 2, 2, 2, 3, 3)"),
], ids=range(19))
def test_hostile_headers_are_refused(data, tmp_path):
    path = tmp_path / "links"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="links"):
            examine(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_garbage_is_no_file_of_links(tmp_path):
    rng, path = random.Random("garbage"), tmp_path / "links"
    for begin in (b"", b"BEGIN_HEADER\n", struct.pack(">I", 0x456789AB), struct.pack("<i", 20103), b"\x93NUMPY\x01\x00"):
        for size in (1, 10, 100, 1000):
            for _ in range(10):
                path.write_bytes(begin + rng.randbytes(size))
                with pytest.raises(InputError, match="links"):
                    examine(path)


def test_openqcd_files_shortened_by_a_slice_are_refused(tmp_path):
    """Their only guards are the size and the plaquette."""
    data = openqcd(random_links((2, 2, 2, 4)), (2, 2, 2, 4))
    path = tmp_path / "links"
    path.write_bytes(struct.pack("<i", 2) + data[4:24 + 16 * 576])
    assert any("plaquette" in fault for fault in examine(path).faults)
