"""Files of links on MPI ranks: the bytes of one rank, and one voice when a check fails."""

import os

import pytest
from link_files import EXTENT, nersc, parts, random_links

from slhmc.cli.launch import run_ranks
from slhmc.io.formats import NAMES, Part, write_configuration

pytest.importorskip("mpi4py", exc_type=ImportError)
pytestmark = pytest.mark.mpi

PROGRAM = """
import resource, sys
from pathlib import Path
from mpi4py import MPI
import numpy as np
from slhmc.errors import InputError
from slhmc.io.formats import examine, write_configuration

folder, names = Path(sys.argv[1]), sys.argv[2:]
for source in names:
    found = examine(folder / source, communicator=MPI.COMM_WORLD)
    assert not found.faults and found.part.links.shape[0] == found.part.end - found.part.begin < 6, source
    assert found.plaquette == examine(folder / source).plaquette, source  # to the last bit
    single = source == "milc"
    for target in names:
        if single == (target == "milc") and source != "nersc-2x3":
            write_configuration(folder / f"{source}-{target}", found.part, target)
found = examine(folder / "lat.vol0001", communicator=MPI.COMM_WORLD)
assert not found.faults and found.checksum_state == "verified"
for damaged in ("damaged", "short"):
    try:
        faults = examine(folder / damaged, communicator=MPI.COMM_WORLD).faults
    except InputError as error:
        faults = (str(error),)
    assert len(set(MPI.COMM_WORLD.allgather(faults))) == 1 and faults, damaged
try:
    write_configuration(folder / "no" / "where", found.part, "npy")
except InputError as error:
    assert "cannot be written" in str(error)
before = sorted(folder.iterdir())
MPI.COMM_WORLD.Barrier()
last = MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
if last:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as if the disk was full for this rank
try:
    write_configuration(folder / "full", found.part, "npy")
    raise SystemExit("written beyond the limit")
except InputError as error:
    assert "cannot be written" in str(error)
if last:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
MPI.COMM_WORLD.Barrier()
assert sorted(folder.iterdir()) == before
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_write_the_bytes_of_one(tmp_path, ranks):
    links = random_links()
    for name in NAMES:
        write_configuration(tmp_path / name, Part(links, EXTENT[-1]), name, "single" if name == "milc" else None)
    damaged = bytearray(nersc(links))
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    (tmp_path / "short").write_bytes(damaged[:-1])
    for number, data in enumerate(parts(links)):
        (tmp_path / f"lat.vol{number:04d}").write_bytes(data)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    before = set(os.listdir(tmp_path))
    result = run_ranks(ranks, [str(script), str(tmp_path), *NAMES], timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    made = set(os.listdir(tmp_path)) - before
    doubles = len(NAMES) - 1
    assert len(made) == (doubles - 1) * doubles + 1
    for name in made:
        target = next(target for target in sorted(NAMES, key=len, reverse=True) if name.endswith(f"-{target}"))
        assert (tmp_path / name).read_bytes() == (tmp_path / target).read_bytes(), name
