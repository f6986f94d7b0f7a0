"""Timed cases of a smearing layer: links forward, force and derivative back."""

from slhmc.bench.cases import Case, matrix_flops
from slhmc.lattice import AlgebraField, Draws, Purpose
from slhmc.lattice.fields import algebra_dimension, link_reals
from slhmc.networks import make_network


def forward_flops(n: int, dimensions: int) -> int:
    """Per site: staples, three products for two upper ones, two for each lower one, weights and sums; C U^+ and exp(Q) U."""
    planes, product, reals = dimensions * (dimensions - 1) // 2, matrix_flops(n), link_reals(n)
    staples = planes * (3 * product + 4 * reals) + 2 * planes * (2 * product + 2 * reals)
    exponential = {2: 110, 3: product + 400}[n]
    return staples + dimensions * (2 * product + 2 * algebra_dimension(n) + exponential)


def pull_back_flops(n: int, dimensions: int) -> int:
    """Per site: seven products for two upper staples of a plane, five for each lower one, weights and sums, U dA; for each link
    C U^+, the exponential with its derivative (kernels/stout.cc; halvings not counted), e^+ F e, D and lambda C U^+.
    """
    planes, product, reals = dimensions * (dimensions - 1) // 2, matrix_flops(n), link_reals(n)
    loops = planes * (7 * product + 9 * reals) + 2 * planes * (5 * product + 6 * reals)
    algebra = algebra_dimension(n)
    average = {2: 110 + 5 + 13 * 6 + 2 * 12 + 15, 3: 3 * product + 18 * 21 + 3 + 108 + 9 * 50}[n]
    local = 5 * product + average + reals + 8 * algebra
    return loops + dimensions * (product + 3 * algebra + local)


def cases(bench) -> list[Case]:
    """A stout layer of plaquettes; its staples C are kept for the way back, and are bytes of both."""
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
    return [Case("stout forward", "double", forward, sites * forward_flops(n, d), sites * 3 * links, sites * 3 * links),
            Case("stout pull back", "double", back, sites * pull_back_flops(n, d), sites * (2 * links + 3 * algebra),
                 sites * (2 * links + 2 * algebra))]
