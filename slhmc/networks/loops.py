"""Shapes of loops: which links see them with which weight, and the paths of their open parts.

A layer's table of weights has a number for each shape and class of links: D x D of plaquettes (direction of the link, other
direction of the plane), then D for each further shape (direction of the link).
"""

from functools import cache
from itertools import permutations, product

import numpy as np

from slhmc.errors import InputError

# signed steps along different axes 1, 2, 3; a chair is two plaquettes that share a link and lie in different planes
STEPS = {"rectangle": (1, 1, 2, -1, -1, -2), "chair": (2, 1, -2, 3, -1, -3)}
SHAPES = ("plaquette", *STEPS, "polyakov")
LOOPS = ("plaquette", "plaquette_ss", "plaquette_st", "plaquette_ts",
         *(f"{shape}{suffix}" for shape in SHAPES[1:] for suffix in ("", "_s", "_t")))


def shape_of(loop: str) -> str:
    """The shape of a named loop."""
    return loop.partition("_")[0]


def table_length(dimensions: int) -> int:
    """Numbers in a layer's table of weights."""
    return dimensions**2 + (len(SHAPES) - 1) * dimensions


def table_offset(shape: str, dimensions: int) -> int:
    """Where the numbers of a shape begin."""
    number = SHAPES.index(shape)
    return 0 if number == 0 else dimensions**2 + (number - 1) * dimensions


def _links_of(suffix: str, dimensions: int) -> np.ndarray:
    time = np.arange(dimensions) == dimensions - 1
    return {"": np.ones(dimensions, bool), "s": ~time, "t": time}[suffix]


def weight_mask(loop: str, dimensions: int) -> np.ndarray:
    """1 where the weight of a named loop counts in the table, else 0. Raises InputError if there is no such loop."""
    if loop not in LOOPS:
        raise InputError(f"loop {loop!r}: the loops of a network are {', '.join(LOOPS)}")
    shape, _, suffix = loop.partition("_")
    mask, offset = np.zeros(table_length(dimensions)), table_offset(shape, dimensions)
    if shape == "plaquette":
        own, other = (suffix[0], suffix[1]) if suffix else ("", "")
        planes = np.outer(_links_of(own, dimensions), _links_of(other, dimensions))
        mask[:dimensions**2] = (planes & ~np.eye(dimensions, dtype=bool)).ravel()
    elif shape != "chair" or dimensions > 2:
        mask[offset:offset + dimensions] = _links_of(suffix, dimensions)
    if not mask.any():
        raise InputError(f"loop {loop!r}: there is none in {dimensions} dimensions; leave it out")
    return mask


@cache
def open_paths(shape: str, dimensions: int) -> np.ndarray:
    """Paths from x to x + mu that close with U_mu(x)^+ to all images of a shape under permutations and reflections of axes.

    int8 (D, paths, steps); a step d < D goes forward along d, else backward along d - D. Paths that begin alike are neighbours.
    """
    steps, axes = STEPS[shape], max(STEPS[shape])
    found = [set() for _ in range(dimensions)]
    for chosen in permutations(range(dimensions), axes):
        for signs in product((1, -1), repeat=axes):
            loop = [(chosen[abs(s) - 1], signs[abs(s) - 1] * (1 if s > 0 else -1)) for s in steps]
            for way in (loop, [(mu, -sign) for mu, sign in reversed(loop)]):
                for k, (mu, sign) in enumerate(way):
                    rest = way[k + 1:] + way[:k]
                    if sign > 0:  # U_mu(x) rest: the open path is the rest backwards
                        found[mu].add(tuple(nu if s < 0 else nu + dimensions for nu, s in reversed(rest)))
    return np.array([sorted(paths) for paths in found], np.int8)
