"""Timed cases of the gradient flow: steps, and what is measured on flowed links."""

from slhmc.bench.cases import (
    Case,
    coefficient_flops,
    link_update_flops,
    matrix_flops,
    plaquette_force_flops,
    rectangle_force_flops,
    transport_flops,
)
from slhmc.lattice import field_strength_sums
from slhmc.lattice.fields import algebra_dimension, link_reals
from slhmc.observables import GradientFlow
from slhmc.observables.gradient_flow import FiveLoopCharge


def step_flops(n: int, dimensions: int, action: str) -> int:
    """Per site and step of three stages: the force, D*D f of Zeuthen's, the sum of forces and the update of each link."""
    algebra = algebra_dimension(n)
    force = plaquette_force_flops(n, dimensions)
    if action != "wilson":
        force += rectangle_force_flops(n, dimensions)
    if action == "zeuthen":
        force += dimensions * (2 * transport_flops(n) + 4 * algebra)
    return 3 * (force + dimensions * (4 * algebra + link_update_flops(n)))


def energy_flops(n: int, dimensions: int) -> int:
    """Per site: coefficients of the plaquettes, three of them brought to each corner, squares and products of the charge."""
    algebra, planes = algebra_dimension(n), dimensions * (dimensions - 1) // 2
    plaquette = 2 * matrix_flops(n) + coefficient_flops(n)
    return planes * (plaquette + 3 * transport_flops(n) + 4 * algebra + 3 * algebra) + 6 * algebra


def charge_flops(n: int) -> int:
    """Per site: in each of six planes four lines, the coefficients of seven loops, each brought from one end of its sides to the
    other twice, and two shapes of two sizes added; the products of five sizes in three pairs of planes."""
    algebra = algebra_dimension(n)
    loop = 2 * matrix_flops(n) + coefficient_flops(n) + 2 * (transport_flops(n) + algebra)
    return 6 * (4 * matrix_flops(n) + 7 * loop + 2 * algebra) + 3 * 5 * 2 * algebra


def cases(bench) -> list[Case]:
    """A step is three stages, each of which reads links and writes others; sums of forces are written twice and read twice."""
    n, d, sites = bench.colors, bench.lattice.dimensions, bench.lattice.sites
    links, algebra = 8 * d * link_reals(n), 8 * d * algebra_dimension(n)
    result = []
    for action in ("wilson", "symanzik", "zeuthen"):
        flow = GradientFlow(bench.U.copy(), action, 1e-6)
        fields = 6 * links + (4 + 6 * (action == "zeuthen")) * algebra
        result.append(Case(f"{action} flow step", "double", flow.step_kernels, sites * step_flops(n, d, action), sites * fields,
                           sites * (2 * links + algebra)))
    charge = FiveLoopCharge(bench.lattice, n)
    return [*result,
            Case("flow energies", "double", lambda: field_strength_sums(bench.U), sites * energy_flops(n, d), sites * links,
                 sites * links),
            Case("five-loop charge", "double", lambda: charge.measure(bench.U), sites * charge_flops(n), sites * links,
                 sites * 2 * links)]
