"""Dense matrices on even and odd sites: what even-odd operators are compared with."""

import numpy as np
import reference


def blocks(matrix, extent, colors):
    """(ee, eo, oe, oo) of a dense matrix on spinors."""
    even = np.repeat(reference.even_sites(extent).ravel(), 4 * colors)
    return [matrix[np.ix_(rows, columns)] for rows in (even, ~even) for columns in (even, ~even)]


def schur_complement(matrix, extent, colors):
    """D_ee - D_eo D_oo^-1 D_oe."""
    ee, eo, oe, oo = blocks(matrix, extent, colors)
    return ee - eo @ np.linalg.solve(oo, oe)


def even_values(field):
    """Values of the even sites in one vector."""
    values = field.to_sites()
    return values[reference.even_sites(field.lattice.extent)].ravel()


def dense_even(operator):
    """An operator on even sites as a matrix, column by column."""
    psi, out = operator.field(), operator.field()
    shape, columns = psi.to_sites().shape, []
    for index in np.flatnonzero(np.repeat(reference.even_sites(psi.lattice.extent).ravel(), psi.component_count // 2)):
        unit = np.zeros(int(np.prod(shape)), complex)
        unit[index] = 1
        psi.from_sites(unit.reshape(shape))
        operator.apply(psi, out)
        columns.append(even_values(out))
    return np.array(columns).T
