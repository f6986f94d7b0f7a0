"""Symplectic schemes as data, and the schedule of a trajectory made of them.

A scheme is one step of unit length: kicks "P" (momenta by the force) and drifts "U" (links by the momenta) with weights.
"""

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
    (nested time scales, Sexton and Weingarten 1992). Kicks between two drifts commute, so those of one level become one.
    """
    moves: list[tuple[str | int, float]] = []
    kicks: dict[int, float] = {}
    for kind, time in _nested(list(levels), 0, length):
        if kind == "U":
            moves += [*sorted(kicks.items()), (kind, time)]
            kicks = {}
        else:
            kicks[kind] = kicks.get(kind, 0.0) + time
    return moves + sorted(kicks.items())


def _nested(levels, level: int, length: float):
    if level == len(levels):
        yield "U", length
        return
    scheme, steps = levels[level]
    for _ in range(steps):
        for kind, weight in SCHEMES[scheme]:
            time = weight * length / steps
            if kind == "P":
                yield level, time
            else:
                yield from _nested(levels, level + 1, time)
