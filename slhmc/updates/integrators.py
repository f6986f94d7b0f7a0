"""Symplectic schemes as data, and the schedule of a trajectory made of them.

A scheme is one step of unit length: kicks "P" (momenta by the force) and drifts "U" (links by the momenta) with weights.
"""

from itertools import groupby
from operator import itemgetter

_LAMBDA = 0.1931833275037836  # minimum-norm value, Omelyan, Mryglod, Folk, CPC 151 (2003) 272, eq. (31)
# the same paper, eq. (71): fourth order with eleven stages, velocity form
_RHO, _THETA, _VARTHETA, _LAMBDA4 = 0.2539785108410595, -0.03230286765269967, 0.08398315262876693, 0.6822365335719091

SCHEMES = {
    "leapfrog": (("P", 1 / 2), ("U", 1), ("P", 1 / 2)),
    "omelyan2": (("P", _LAMBDA), ("U", 1 / 2), ("P", 1 - 2 * _LAMBDA), ("U", 1 / 2), ("P", _LAMBDA)),
    "omf4": (("P", _VARTHETA), ("U", _RHO), ("P", _LAMBDA4), ("U", _THETA), ("P", 0.5 - _LAMBDA4 - _VARTHETA),
             ("U", 1 - 2 * (_THETA + _RHO)),
             ("P", 0.5 - _LAMBDA4 - _VARTHETA), ("U", _THETA), ("P", _LAMBDA4), ("U", _RHO), ("P", _VARTHETA)),
}


def schedule(levels, length: float) -> list[tuple[str | int, float]]:
    """Moves of a trajectory: (level, time) is a kick by that level's force, ("U", time) a drift.

    levels: [(scheme name, steps)], slowest first. Each drift of a level is replaced by a whole schedule of the next
    (nested time scales, Sexton and Weingarten 1992); kicks of one level that meet become one.
    """
    moves = _nested(list(levels), 0, length)
    return [(kind, sum(time for _, time in run)) for kind, run in groupby(moves, key=itemgetter(0))]


def _nested(levels, level: int, length: float) -> list[tuple[str | int, float]]:
    if level == len(levels):
        return [("U", length)]
    scheme, steps = levels[level]
    moves = []
    for _ in range(steps):
        for kind, weight in SCHEMES[scheme]:
            time = weight * length / steps
            moves += [(level, time)] if kind == "P" else _nested(levels, level + 1, time)
    # kicks of this level that meet between two steps
    return [(kind, sum(time for _, time in run)) if kind == level else move
            for kind, group in groupby(moves, key=itemgetter(0)) for run in [list(group)]
            for move in (run[:1] if kind == level else run)]
