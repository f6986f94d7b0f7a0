"""What is checked of links, in NumPy: unitarity, mean plaquette, mean trace; the projection to SU(N)."""

import numpy as np

# files of other programs are trusted to this, what single precision leaves after a trajectory; links of the engine to 1e-10
DEVIATION_LIMIT = 1e-5


def deviations(links: np.ndarray) -> np.ndarray:
    """Largest of |U U^+ - 1| and |det U - 1| / Nc for each matrix; NaN or infinite where a number is not finite."""
    colors = links.shape[-1]
    rows = np.moveaxis(links, -2, 0)
    with np.errstate(all="ignore"):
        result = np.abs(_determinant(rows) - 1) / colors
        for i in range(colors):
            for j in range(i + 1):
                result = np.maximum(result, np.abs(np.einsum("...k,...k->...", rows[i], rows[j].conj()) - (i == j)))
    return result


def _determinant(rows: np.ndarray) -> np.ndarray:
    if len(rows) == 2:
        return rows[0, ..., 0] * rows[1, ..., 1] - rows[0, ..., 1] * rows[1, ..., 0]
    if len(rows) == 3:
        return np.einsum("...k,...k->...", np.cross(rows[0], rows[1]), rows[2])
    finite = np.where(np.isfinite(rows), rows, 0)
    return np.where(np.isfinite(rows).all((0, -1)), np.linalg.det(np.moveaxis(finite, 0, -2)), np.nan)


def last_row(rows: np.ndarray) -> np.ndarray:
    """SU(3) from its first two rows [..., 2, 3]: row 3 = (row 1 x row 2)^*."""
    with np.errstate(all="ignore"):
        third = np.cross(rows[..., 0, :], rows[..., 1, :]).conj()
    return np.concatenate([rows, third[..., None, :]], -2)


def project(links: np.ndarray) -> np.ndarray:
    """Links near SU(N) made unitary by Gram and Schmidt, row by row, the last row divided by the determinant."""
    result = np.array(links, np.complex128)
    for part in result:
        for i in range(part.shape[-1]):
            row = part[..., i, :]
            for j in range(i):
                row -= np.einsum("...k,...k->...", part[..., j, :].conj(), row)[..., None] * part[..., j, :]
            row /= np.sqrt(np.einsum("...k,...k->...", row.conj(), row).real)[..., None]
        part[..., -1, :] /= _determinant(np.moveaxis(part, -2, 0))[..., None]
    return result


def plaquette_of_slice(here: np.ndarray, ahead: np.ndarray) -> float:
    """Sum of Re tr P / Nc over the planes of one slice of the last direction, `ahead` being the next one."""
    dimensions, colors = here.shape[-3], here.shape[-1]
    last, total = dimensions - 1, 0.0
    links, up = (np.ascontiguousarray(np.moveaxis(part, (-3, -2, -1), (0, 1, 2)), np.complex128) for part in (here, ahead))

    def at(nu: int, mu: int) -> np.ndarray:
        """U_nu(x + mu)."""
        return up[nu] if mu == last else np.roll(links[nu], -1, -1 - mu)
    for mu in range(dimensions):
        for nu in range(mu):
            total += np.vdot(_product(links[nu], at(mu, nu)), _product(links[mu], at(nu, mu))).real
    return total / colors


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix products, [row, column, site...]."""
    result = a[:, 0, None] * b[None, 0]
    for k in range(1, len(b)):
        result += a[:, k, None] * b[None, k]
    return result
