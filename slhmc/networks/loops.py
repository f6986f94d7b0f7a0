"""Shapes of loops, and which links see them with which weight.

A layer's table of weights has a number for each shape and class of links: D x D of plaquettes (direction of the link, other
direction of the plane), then D for each further shape (direction of the link).
"""

import numpy as np

from slhmc.errors import InputError

# a rectangle has two links along one direction; a chair is two plaquettes in different planes, without their common link
SHAPES = ("plaquette", "rectangle", "chair", "polyakov")
LOOPS = ("plaquette", "plaquette_ss", "plaquette_st", "plaquette_ts",
         *(f"{shape}{suffix}" for shape in SHAPES[1:] for suffix in ("", "_s", "_t")))
REAL_BYTES = 8  # of a number in a table of weights


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


def path_count(loop: str, dimensions: int) -> int:
    """Open paths through a link that a named loop counts for."""
    shape, others = shape_of(loop), dimensions - 1
    if shape == "plaquette":
        return 2 * max(int(row.sum()) for row in weight_mask(loop, dimensions)[:dimensions**2].reshape(dimensions, dimensions))
    return {"rectangle": 6 * others, "chair": 12 * others * (others - 1), "polyakov": 1}[shape]
