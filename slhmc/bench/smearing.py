"""Timed cases of a smearing layer: links forward, force and derivative back."""

from slhmc.bench.cases import (
    Case,
    anticommutator_flops,
    coefficient_flops,
    commutator_flops,
    link_update_flops,
    matrix_flops,
    transport_flops,
)
from slhmc.lattice import AlgebraField, Draws, Purpose
from slhmc.lattice.fields import algebra_dimension, link_reals
from slhmc.networks import make_network


def forward_flops(n: int, dimensions: int) -> int:
    """Per site: coefficients of each plaquette, transported to two links behind, weights and sums; exp(Q) U of each link."""
    planes, algebra = dimensions * (dimensions - 1) // 2, algebra_dimension(n)
    loops = planes * (2 * matrix_flops(n) + coefficient_flops(n) + 2 * (transport_flops(n) + 3 * algebra))
    return loops + dimensions * (algebra + link_update_flops(n))


def pull_back_flops(n: int, dimensions: int) -> int:
    """Per site (kernels/plaquette_layer.cc): of each plaquette its matrix and coefficients, two forces brought to it, L, an
    anticommutator, three commutators, two elements brought to links, sums; of each link the exponential with its derivative
    (kernels/exponential.h; halvings not counted), e^+ F e and sums.
    """
    planes, algebra, product = dimensions * (dimensions - 1) // 2, algebra_dimension(n), matrix_flops(n)
    products = anticommutator_flops(n) + 3 * commutator_flops(n)
    loops = planes * (3 * product + n * (n + 1) + 4 * (transport_flops(n) + algebra) + products + 13 * algebra)
    average = {2: 60 + 39 + 11 + 2 * 12 + 15, 3: 3 * product + 18 * 21 + 3 + 108 + 9 * 50}[n]
    return loops + dimensions * (average + transport_flops(n) + 6 * algebra)


def cases(bench) -> list[Case]:
    """A stout layer of plaquettes; the exponents are kept for the way back, and are bytes of both."""
    n, d, sites = bench.colors, bench.lattice.dimensions, bench.lattice.sites
    links, algebra = 8 * d * link_reals(n), 8 * d * algebra_dimension(n)
    U, network = bench.U, make_network("stout", n, d, 1, ["plaquette"], [[0.05]])
    network.smear(U)
    smeared_force, force = AlgebraField(bench.lattice, n), AlgebraField(bench.lattice, n)
    smeared_force.draw_gaussian(Draws(1, 8).next(Purpose.MOMENTA))

    def forward():
        U.changed()
        network.smear(U)

    def back():
        network.pull_back(U, smeared_force, force, 1e-9)
    return [Case("stout forward", "double", forward, sites * forward_flops(n, d), sites * (2 * links + algebra),
                 sites * (2 * links + algebra)),
            Case("stout pull back", "double", back, sites * pull_back_flops(n, d), sites * (links + 4 * algebra),
                 sites * (links + 4 * algebra))]
