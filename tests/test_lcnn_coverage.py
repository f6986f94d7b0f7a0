"""Loops that L-CB stacks cover: published counts, and the same from traces of products of random matrices."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from running import ROOT

from slhmc.errors import InputError
from slhmc.networks.lcnn import coverage
from slhmc.networks.lcnn.coverage import by_length, covered_loops, loops_of_lattice

STACKS = ([2], [3], [4], [2, 2], [3, 3], [4, 4])
TOTALS = {("arxiv_v1", False): (11, 19, 27, 621, 4985, 16725), ("prl_2022", False): (13, 21, 29, 817, 5697, 18273),
          ("arxiv_v1", True): (13, 21, 29, 2181, 16113, 52229)}


@pytest.mark.parametrize(("kind", "totals"), TOTALS.items(), ids=str)
def test_totals_are_the_known_ones(kind, totals):
    assert tuple(len(covered_loops(kernels, *kind)) for kernels in STACKS) == totals


def test_lengths_are_the_published_ones():
    assert by_length(covered_loops([2, 2])) == dict(zip(
        (0, *range(4, 23, 2)), (1, 2, 4, 22, 48, 92, 120, 100, 136, 32, 64), strict=True))  # nothing has length 2
    assert [max(map(len, covered_loops(kernels))) for kernels in STACKS] == [8, 10, 12, 22, 28, 34]


def test_one_plaquette_with_and_without_its_local_term():
    assert covered_loops([1], local_term=False) == {"", "XYxy", "XyxY"}
    assert covered_loops([1]) == covered_loops([1], "prl_2022") == {"", "XYxy", "XyxY", 2 * "XYxy", 2 * "XyxY"}


def unitary(random, colors=3):
    matrix, _ = np.linalg.qr(random.normal(size=(colors, colors)) + 1j * random.normal(size=(colors, colors)))
    return matrix


def distinct(matrices):
    """One of each up to rounding; numbers or matrices."""
    matrices = np.array(matrices)
    flat = np.round(matrices.reshape(len(matrices), -1), 9)
    return matrices[np.unique(np.concatenate([flat.real, flat.imag], axis=1) + 0.0, axis=0, return_index=True)[1]]


@pytest.mark.parametrize(("kernels", "convention", "symmetric"), [
    ([2], "arxiv_v1", False), ([4], "prl_2022", False), ([3], "arxiv_v1", True), ([2, 2], "arxiv_v1", False),
    ([2, 2], "prl_2022", False), ([2, 2], "arxiv_v1", True)])
def test_as_many_different_traces_of_random_matrices(kernels, convention, symmetric):
    """A link for each direction that is the same everywhere represents the free group: no relation, no equal traces."""
    random = np.random.default_rng(5)
    links = [unitary(random), unitary(random)]
    one, (U, V) = np.eye(3), links
    channels = [U @ V @ U.conj().T @ V.conj().T]
    for kernel in kernels:
        first = 1 - kernel if symmetric else 1 if convention == "arxiv_v1" else 0
        local = [one, *channels, *(W.conj().T for W in channels)]
        moved = [one]
        for link, distance in itertools.product(links, range(first, kernel)):
            far = np.linalg.matrix_power(link, distance)
            moved += [far @ W @ far.conj().T for W in local]
        channels = distinct([W @ V for W in distinct(local) for V in distinct(moved)])
    assert len(distinct([np.trace(W) for W in channels])) == len(covered_loops(kernels, convention, symmetric))


def test_loops_of_the_lattice():
    """The known numbers, and for short loops every word one by one."""
    known = loops_of_lattice(16)
    assert known == {4: 2, 6: 4, 8: 28, 10: 152, 12: 1010, 14: 6772, 16: 47646}
    for length in (4, 6, 8):
        words = map("".join, itertools.product("xyXY", repeat=length))
        closed = {coverage.loop(word) for word in words
                  if word.count("x") == word.count("X") and word.count("y") == word.count("Y")
                  and not any(pair in word + word[0] for pair in ("xX", "Xx", "yY", "Yy"))}
        assert len(closed) == known[length]


def test_no_net_has_more_loops_than_the_lattice():
    lattice = {0: 1} | loops_of_lattice(22)
    counts = [by_length(covered_loops([2, 2], convention, symmetric)) for convention, symmetric in TOTALS]
    for smaller, larger in zip(counts, [*counts[1:], lattice], strict=True):
        assert smaller.keys() == larger.keys() and all(smaller[length] <= larger[length] for length in smaller)
    assert all(counts[-1][length] == lattice[length] for length in (4, 6, 8))


def test_more_dimensions_have_more_planes():
    assert [len(coverage.plaquette_words(dimensions)) for dimensions in (2, 3, 4)] == [1, 3, 6]
    assert len(covered_loops([1], dimensions=4, local_term=False)) == 13


@pytest.mark.parametrize(("kernel", "convention", "message"), [(0, "arxiv_v1", "kernel size 0"), (2, "prl", "'prl': one of")])
def test_what_is_no_layer(kernel, convention, message):
    with pytest.raises(InputError, match=message):
        covered_loops([kernel], convention)


def test_the_page_has_what_the_script_counts(tmp_path):
    """The script, run on a copy with empty tables, makes the page as it is."""
    page = (ROOT / "docs" / "results" / "lcnn_loops.md").read_text()
    (tmp_path / "docs" / "results").mkdir(parents=True)
    copy = tmp_path / "docs" / "results" / "lcnn_loops.md"
    copy.write_text(re.sub(r"(<!-- table .*? -->\n).*?(<!-- end -->)", r"\1\2", page, flags=re.S))
    (tmp_path / "scripts").mkdir()
    for name in ("loop_coverage.py", "pages.py", "figures.py", "fits.py", "commands.py"):
        (tmp_path / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    subprocess.run([sys.executable, tmp_path / "scripts" / "loop_coverage.py"], check=True, stdout=subprocess.DEVNULL)
    assert (copy.parent / "images" / "lcnn_loops.png").stat().st_size > 5000
    assert copy.read_text() == page and "| 2x2 large | 4, 4 | 16725 | 16725 |" in page
