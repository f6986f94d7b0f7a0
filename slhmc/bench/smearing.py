"""Timed cases of smearing layers: links forward, force and derivative back."""

from slhmc.bench.cases import (
    Case,
    anticommutator_flops,
    coefficient_flops,
    commutator_flops,
    link_update_flops,
    matrix_flops,
    rectangle_force_flops,
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
    anticommutator, three commutators, two elements brought to links, sums; of each link `exponential_back_flops`.
    """
    planes, algebra, product = dimensions * (dimensions - 1) // 2, algebra_dimension(n), matrix_flops(n)
    products = anticommutator_flops(n) + 3 * commutator_flops(n)
    loops = planes * (3 * product + n * (n + 1) + 4 * (transport_flops(n) + algebra) + products + 13 * algebra)
    return loops + dimensions * exponential_back_flops(n)


def exponential_back_flops(n: int) -> int:
    """Per link: the exponential with its derivative (kernels/exponential.h; halvings not counted), e^+ F e and sums."""
    average = {2: 60 + 39 + 11 + 2 * 12 + 15, 3: 3 * matrix_flops(n) + 18 * 21 + 3 + 108 + 9 * 50}[n]
    return average + transport_flops(n) + 6 * algebra_dimension(n)


def rectangle_forward_flops(n: int, dimensions: int) -> int:
    """Per site: what the gauge force of rectangles takes, a weight and exp(Q) U of each link."""
    return rectangle_force_flops(n, dimensions) + dimensions * (2 * algebra_dimension(n) + link_update_flops(n))


def rectangle_pull_back_flops(n: int, dimensions: int) -> int:
    """Per site (kernels/rectangle_layer.cc): of each rectangle four products and its coefficients, three forces brought to it, L,
    an anticommutator, five commutators, three elements brought to links; of each link two double links, a force and an element
    brought along it; the exponential as above.
    """
    pairs, algebra, product, brought = dimensions * (dimensions - 1), algebra_dimension(n), matrix_flops(n), transport_flops(n)
    products = anticommutator_flops(n) + 5 * commutator_flops(n)
    loops = pairs * (4 * product + n * (n + 1) + 3 * (brought + algebra) + products + 19 * algebra + 3 * (brought + 2 * algebra))
    sides = dimensions * (2 * product + 2 * brought + 5 * algebra)
    return loops + sides + dimensions * exponential_back_flops(n)


def cases(bench) -> list[Case]:
    """Stout layers of plaquettes and of rectangles."""
    n, d = bench.colors, bench.lattice.dimensions
    return [*_layer(bench, "plaquette", "stout forward", "stout pull back", forward_flops(n, d), pull_back_flops(n, d)),
            *_layer(bench, "rectangle", "rectangle layer", "rectangle layer back", rectangle_forward_flops(n, d),
                    rectangle_pull_back_flops(n, d))]


def _layer(bench, loop: str, name: str, name_back: str, flops: int, flops_back: int) -> list[Case]:
    """A layer of one shape of loops; the exponents are kept for the way back, and are bytes of both."""
    n, d, sites = bench.colors, bench.lattice.dimensions, bench.lattice.sites
    links, algebra = 8 * d * link_reals(n), 8 * d * algebra_dimension(n)
    U, network = bench.U, make_network("stout", n, d, 1, [loop], [[0.05]])
    network.smear(U)
    smeared_force, force = AlgebraField(bench.lattice, n), AlgebraField(bench.lattice, n)
    smeared_force.draw_gaussian(Draws(1, 8).next(Purpose.MOMENTA))

    def forward():
        U.changed()
        network.smear(U)

    def back():
        network.pull_back(U, smeared_force, force, 1e-9)
    moved, moved_back = sites * (2 * links + algebra), sites * (links + 4 * algebra)
    return [Case(name, "double", forward, sites * flops, moved, moved),
            Case(name_back, "double", back, sites * flops_back, moved_back, moved_back)]
