"""What every rank grid must agree on, as arrays in public order; `python -m mpi4py rank_program.py JOB.json` computes it.

The job: {"cases": [{"name", "kind", "colors", "extent", "ranks"}], "output": file of the root rank}.
"""

import json
import sys
from contextlib import ExitStack
from unittest import mock

import numpy as np
from monte_carlo import boundary_of, staggered_action, staggered_target, time_scales

from slhmc.actions import (
    CompositeAction,
    GaugeAction,
    LogDeterminantAction,
    PseudofermionAction,
    RatioAction,
    RationalAction,
    RationalSettings,
    StaggeredRatioAction,
)
from slhmc.dirac import CloverDirac, DomainWall, DomainWallDirac, StaggeredDirac, StaggeredNormal, WilsonDirac
from slhmc.lattice import (
    AlgebraField,
    Draws,
    FermionField,
    GaugeField,
    Lattice,
    Purpose,
    line_trace,
    plaquette_sum,
    rectangle_sum,
)
from slhmc.networks import make_network
from slhmc.observables import FlowedLinks, Propagator, StaggeredMesons, StaticPotential, WilsonCondensate, WilsonMesons
from slhmc.runcard import parse_card
from slhmc.simulation.build import make_update
from slhmc.simulation.guide import guide_parts
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient, extreme_eigenvalues
from slhmc.updates import HMC, HeatBath, TimeScale

IWASAKI = -0.331
EXACT = 1e-13  # solver tolerance that leaves nothing but rounding between rank grids


def hot_start(lattice, colors):
    """Haar-random links."""
    U = GaugeField(lattice, colors)
    U.randomize(Draws(1, 0).next(Purpose.START))
    return U


def gaussian_vector(lattice, colors, parity="both", real="double", spins=1, Ls=1):
    """The colour vector, spinor or slices of spinors that all grids share."""
    psi = FermionField(lattice, colors, parity, real, spins, Ls)
    psi.draw_gaussian(Draws(3, 0).next(Purpose.NOISE))
    return psi


def random_fields(lattice, colors):
    """Draws are counted by site, so they are the same bits."""
    P = AlgebraField(lattice, colors)
    P.draw_gaussian(Draws(2, 0).next(Purpose.MOMENTA))
    return {"hot links": hot_start(lattice, colors).to_sites(), "momenta": P.gather_reals(),
            "colour vector": gaussian_vector(lattice, colors).to_sites(),
            "uniform deviate": lattice.uniform(Draws(1, 1).next(Purpose.ACCEPT))}


def gauge(lattice, colors):
    """Loops per site, the force of a rectangle action, a heat-bath trajectory."""
    U = hot_start(lattice, colors)
    result = {"plaquette": float(plaquette_sum(U)) / lattice.sites, "rectangle": float(rectangle_sum(U)) / lattice.sites}
    for mu in range(lattice.dimensions):
        result[f"line {mu}"] = lattice.device.to_host(line_trace(U, mu)) / lattice.sites
    result["gauge force"] = GaugeAction(2.0 * colors, IWASAKI).force(U, None).gather_reals()
    for trajectory in range(2):
        HeatBath(2.0 * colors, 1).step(U, 1, trajectory)
    result["heat bath"] = U.to_sites()
    return result


def quarks(lattice, colors):
    """Operator in both precisions, solutions, force."""
    U, boundary = hot_start(lattice, colors), boundary_of(lattice.dimensions)
    dirac, result = StaggeredDirac(U, 0.5, boundary), {}
    result["D psi"] = dirac(gaussian_vector(lattice, colors)).to_sites()
    single = gaussian_vector(lattice, colors, real="float")
    out = single.like(parity="odd")
    StaggeredDirac(U, 0.5, boundary, "float").hop(single, out, "odd")
    result["hop in single precision"] = out.to_sites()
    operator, b = StaggeredNormal(dirac, "even"), gaussian_vector(lattice, colors, "even")
    for precision in ("double", "mixed"):
        x = b.like()
        ConjugateGradient(lattice, EXACT, precision=precision).solve(operator, b, x)
        result[f"{precision} solution"] = x.to_sites()
    solver = ConjugateGradient(lattice, EXACT, precision="double")
    action = staggered_action(0.5, boundary, solver, solver)
    phi = action.refresh(U, Draws(4, 1))
    result |= {"phi": phi.to_sites(), "quark action": float(action.action(U, phi)) / lattice.sites,
               "quark force": action.force(U, phi).gather_reals()}
    return result


def quark_ratios(lattice, colors):
    """Hasenbusch ratios of Wilson and staggered quarks, a propagator by BiCGStab, a condensate."""
    U, boundary, result = hot_start(lattice, colors), boundary_of(4), {}
    solver = ConjugateGradient(lattice, EXACT, precision="double")
    wilson_quarks = [lambda U, m=m: WilsonDirac(U, m, boundary).even_odd().normal for m in (0.3, 0.8)]
    staggered_quarks = [lambda U, m=m: StaggeredNormal(StaggeredDirac(U, m, boundary)) for m in (0.5, 0.9)]
    for name, action in (("wilson", RatioAction(*wilson_quarks, solver, solver)),
                         ("staggered", StaggeredRatioAction(*staggered_quarks, solver, solver))):
        phi = action.refresh(U, Draws(4, 1))
        result |= {f"{name} phi": phi.to_sites(), f"{name} action": float(action.action(U, phi)) / lattice.sites,
                   f"{name} force": action.force(U, phi).gather_reals()}
    operator, b = wilson_quarks[0](U).factor, gaussian_vector(lattice, colors, spins=4)
    for precision in ("double", "mixed"):
        solution, = Propagator(lattice, EXACT, 1000, precision).solve_many(operator, [b])
        result[f"{precision} propagator"] = solution.to_sites()
    condensate = WilsonCondensate(wilson_quarks[0], 2, Propagator(lattice, EXACT, 1000, "double"))
    return result | {"condensate": condensate.measure(U, Draws(6, 1))}


def mesons(lattice, colors):
    """Correlators of Wilson and staggered quarks from a point and from walls."""
    U, boundary, result = hot_start(lattice, colors), boundary_of(4), {}
    for source in ("point", "wall"):
        for name, observable in (
            ("wilson", WilsonMesons(lambda U: WilsonDirac(U, 0.3, boundary).even_odd().normal,
                                    Propagator(lattice, EXACT, 1000, "double"), source, 2)),
            ("staggered", StaggeredMesons(lambda U: StaggeredNormal(StaggeredDirac(U, 0.5, boundary)),
                                          ConjugateGradient(lattice, EXACT, precision="double"), source, 2))):
            result[f"{name} {source}"] = observable.measure(U, Draws(6, 1))
    return result


def rational_action(lattice, make_operator, power, lowest, highest):
    """A rational action whose approximations and solves leave rounding alone."""
    solvers = (MultiShiftConjugateGradient(lattice, EXACT, precision="double") for _ in range(2))
    return RationalAction(make_operator, power, RationalSettings(lowest, highest, 1e-13, 1e-13), *solvers)


def rooted_action(lattice, power, mass=0.5):
    """A root of staggered quarks."""
    boundary = boundary_of(lattice.dimensions)
    return rational_action(lattice, lambda U: StaggeredNormal(StaggeredDirac(U, mass, boundary)), power, mass**2,
                           mass**2 + lattice.dimensions**2)


def roots(lattice, colors):
    """Fourth root of a determinant: draw, value, force; the spectrum; three trajectories with two and one flavours."""
    U, action = hot_start(lattice, colors), rooted_action(lattice, 0.25)
    phi = action.refresh(U, Draws(4, 1))
    operator = StaggeredNormal(StaggeredDirac(U, 0.5, boundary_of(lattice.dimensions)))
    spectrum = extreme_eigenvalues(operator, Draws(1, 1).next(Purpose.SPECTRUM), 1e-7)
    result = {"phi": phi.to_sites(), "rooted action": float(action.action(U, phi)) / lattice.sites,
              "rooted force": action.force(U, phi).gather_reals(), "spectrum": np.array([spectrum.lowest, spectrum.highest])}
    parts = {"gauge": GaugeAction(2.0 * colors), "two": rooted_action(lattice, 0.5), "one": rooted_action(lattice, 0.25)}
    target = CompositeAction(parts)
    hmc = HMC(target, time_scales(target, ("omelyan2", 8)), 0.3)
    return result | trajectory_results(hmc, GaugeField(lattice, colors), 3)


def one_flavor(lattice, colors):
    """One flavour of clover quarks: draw, value, force, spectrum; three trajectories, with the determinant of the odd sites."""
    U, action = hot_start(lattice, colors), rational_action(
        lattice, lambda U: clover_operator(U).even_odd().normal, 0.5, 0.1, 60.0)
    phi = action.refresh(U, Draws(4, 1))
    spectrum = extreme_eigenvalues(action.operator(U), Draws(1, 1).next(Purpose.SPECTRUM), 1e-7)
    result = {"phi": phi.to_sites(), "rooted action": float(action.action(U, phi)) / lattice.sites,
              "rooted force": action.force(U, phi).gather_reals(), "spectrum": np.array([spectrum.lowest, spectrum.highest])}
    target = CompositeAction({"gauge": GaugeAction(2.0 * colors), "quarks": action,
                              "determinant": LogDeterminantAction(lambda U: clover_operator(U).even_odd(), 1)})
    hmc = HMC(target, time_scales(target, ("omelyan2", 6)), 0.2)
    return result | trajectory_results(hmc, GaugeField(lattice, colors), 3)


def even_odd_quarks(lattice, colors, make_dirac, Ls=1):
    """Operator and adjoint in both precisions, even-odd operator with its norm, force of the pseudofermions."""
    U, result = hot_start(lattice, colors), {}
    for real, name in (("double", "D psi"), ("float", "hop in single precision")):
        D, psi = make_dirac(U, real), gaussian_vector(lattice, colors, real=real, spins=4, Ls=Ls)
        result |= {name: D(psi).to_sites(), f"{name}, adjoint": D.adjoint(psi).to_sites()}
    A, b = make_dirac(U, "double").even_odd().normal, gaussian_vector(lattice, colors, "even", spins=4, Ls=Ls)
    out, norm = b.like(), lattice.device.zeros((1,), np.float64)
    A.apply(b, out, norm)
    result |= {"A psi": out.to_sites(), "|M psi|^2": lattice.device.to_host(norm) / lattice.sites}
    solver = ConjugateGradient(lattice, EXACT, precision="double")
    action = PseudofermionAction(lambda U: make_dirac(U, "double").even_odd().normal, solver, solver)
    phi = action.refresh(U, Draws(4, 1))
    return result | {"phi": phi.to_sites(), "quark action": float(action.action(U, phi)) / lattice.sites,
                     "quark force": action.force(U, phi).gather_reals()}


def wilson(lattice, colors):
    """Wilson quarks."""
    return even_odd_quarks(lattice, colors, lambda U, real: WilsonDirac(U, 0.3, boundary_of(4), real))


def clover_operator(U, real="double"):
    return CloverDirac(U, 0.3, 1.3, boundary_of(4), real)


def clover(lattice, colors):
    """Clover quarks; the force of the clover term reaches around the corners of a rank's block."""
    U, determinant = hot_start(lattice, colors), LogDeterminantAction(lambda U: clover_operator(U).even_odd())
    return even_odd_quarks(lattice, colors, clover_operator) | {
        "log det": float(determinant.action(U, None)) / lattice.sites,
        "determinant force": determinant.force(U, None).gather_reals()}


def clover_chain(lattice, colors):
    """Trajectories whose tape rebuilds the clover term and its inverse after each change of the links."""
    solver = ConjugateGradient(lattice, EXACT, precision="double")
    target = CompositeAction({"gauge": GaugeAction(2.0 * colors),
                              "quarks": PseudofermionAction(lambda U: clover_operator(U).even_odd().normal, solver, solver),
                              "determinant": LogDeterminantAction(lambda U: clover_operator(U).even_odd())})
    return trajectory_results(HMC(target, time_scales(target, ("omelyan2", 8)), 0.2), GaugeField(lattice, colors), 3)


def domain_wall(lattice, colors):
    """Moebius quarks, the quark propagator of four dimensions and the one half-way."""
    parameters, boundary = DomainWall(0.2, 4, b5=1.5, c5=0.5), boundary_of(4)
    result = even_odd_quarks(lattice, colors, lambda U, real: DomainWallDirac(U, parameters, boundary, real), Ls=4)
    D, solver = DomainWallDirac(hot_start(lattice, colors), parameters, boundary), ConjugateGradient(lattice, EXACT)
    psi = D.even_odd().solve(solver, D.source(gaussian_vector(lattice, colors, spins=4)))
    return result | {"quark": D.quark(psi).to_sites(), "midpoint": D.midpoint(psi).to_sites()}


def networks(lattice, colors):
    """Smeared links, force and gradient of layers with all loops; lines go round the whole lattice."""
    U, loops = hot_start(lattice, colors), ["plaquette_ss", "plaquette_ts", "rectangle", "chair_s", "polyakov_s", "polyakov_t"]
    P, result = AlgebraField(lattice, colors), {}
    P.draw_gaussian(Draws(2, 0).next(Purpose.MOMENTA))
    cases = [(kind, kind, loops) for kind in ("stout", "ape", "attention")]
    cases += [("plaquettes", "stout", ["plaquette", "plaquette_st"]), ("flow", "flow", ["plaquette", "polyakov"])]
    for name, kind, used in cases:
        rows = {"flow": 1, "attention": 8}.get(kind, 2)
        weights = np.linspace(0.01, 0.02, rows * len(used)).reshape(-1, len(used)) / (1 + 4 * (kind == "attention"))
        network, force = make_network(kind, colors, lattice.dimensions, 2, used, weights), AlgebraField(lattice, colors)
        result[f"{name} links"] = network.smear(U).to_sites()
        network.pull_back(U, P, force)
        result |= {f"{name} force": force.gather_reals(), f"{name} gradient": network.parameter_gradient(U, P) / lattice.sites}
    return result


def flow(lattice, colors):
    """Energies and charges along each flow, and where it ends, with fixed steps and with steps that are chosen."""
    U, result = hot_start(lattice, colors), {}
    for action, control in (("wilson", {"step": 0.05}), ("symanzik", {"step": 0.05}), ("zeuthen", {"tolerance": 1e-3})):
        flowed = FlowedLinks(lattice, colors, action, 0.2, 2, **control)
        result |= {f"{action} values": flowed.measure(U, None), f"{action} links": flowed.flow.advance_links(0.2).to_sites()}
    return result


def static_potential(lattice, colors):
    """Wilson loops of thin and smeared lines, as long as a rank's part and longer."""
    r_max, t_max = min(lattice.extent[:-1]) // 2, lattice.extent[-1] // 2
    levels = (0, 2) if lattice.dimensions > 2 else (0,)
    return {"loops": StaticPotential(lattice, colors, r_max, t_max, levels, 0.05).measure(hot_start(lattice, colors), None)}


def trajectory_results(hmc, U, trajectories):
    """Links after each trajectory, and the energy changes."""
    result, delta_h = {}, []
    for trajectory in range(1, trajectories + 1):
        transition = hmc.step(U, 5, trajectory)
        delta_h.append(transition.delta_h)
        result[f"links after {trajectory}"] = U.to_sites()
    result["dH"] = np.array(delta_h) / U.lattice.sites
    return result


def chain(lattice, colors):
    """Three trajectories with quarks: the first is recorded, the others replay its tape, halo exchange and all.

    Unit links, short trajectories and a tight double-precision solver, because the dynamics amplify rounding.
    """
    target = staggered_target(lattice, 2.0 * colors, 0.5, EXACT, precision="double")
    hmc = HMC(target, time_scales(target, ("omelyan2", 14)), 0.3)
    return trajectory_results(hmc, GaugeField(lattice, colors), 3)


def gauge_chain(lattice, colors):
    """The same without quarks, whose refreshment would bring the halo up to date before the tape runs."""
    target = GaugeAction(2.0 * colors, -1 / 12)
    return trajectory_results(HMC(target, time_scales(target, ("omf4", 4)), 0.3), GaugeField(lattice, colors), 3)


def nested_chain(lattice, colors):
    """Rectangles on a fine time scale, chronological quarks on the coarse one."""
    parts = staggered_target(lattice, 2.0 * colors, 0.5, EXACT, "chronological", "double").parts
    parts = parts | {"gauge": GaugeAction(2.0 * colors, IWASAKI)}
    guide = [TimeScale(CompositeAction({"quarks": parts["quarks"]}), "omelyan2", 4),
             TimeScale(CompositeAction({"gauge": parts["gauge"]}), "omelyan2", 3)]
    return trajectory_results(HMC(CompositeAction(parts), guide, 0.3), GaugeField(lattice, colors), 3)


GUIDED = """
[lattice]
extent = {extent}
colors = {colors}
[gauge]
action = "wilson"
beta = {beta}
[smearing]
loops = ["plaquette"]
weights = [[0.05]]
[[quarks]]
operator = "staggered"
mass = 0.5
[solver]
precision = "double"
force_tolerance = 1e-13
action_tolerance = 1e-13
[hmc]
scheme = "omelyan2"
length = 0.3
steps = 8
[network]
layers = 2
loops = ["plaquette", "polyakov", "rectangle_t"]
weights = [[-0.01, 0.02, 0.01], [0.01, -0.02, 0.01]]
[guide]
quarks = [{{ mass = 0.6 }}]
[guide.correction]
every = 4
[run]
trajectories = 1
seed = 1
"""


def guided_chain(lattice, colors):
    """Smeared quarks guided by others, on links of a network with lines in all directions; nested; the forces at the end."""
    card = parse_card(GUIDED.format(extent=list(lattice.extent), colors=colors, beta=2.0 * colors), "card.toml")
    hmc, U = make_update(card, lattice), GaugeField(lattice, colors)
    result = trajectory_results(hmc, U, 3)
    return result | {f"guide's force of {name}": action.force(U, hmc.phi[name]).gather_reals()
                     for name, (action, _) in guide_parts(card, lattice).items()}


KINDS = {function.__name__: function for function in (
    random_fields, gauge, quarks, roots, one_flavor, wilson, clover, domain_wall, quark_ratios, mesons, chain, gauge_chain,
    nested_chain, guided_chain, clover_chain, networks, flow, static_potential)}


LARGE = ", as large"  # after a kind: as lattices beyond the caches are worked through, in tiles and without packing messages


def results_of(case, communicator=None):
    """{"case/quantity": array} on the root rank; `lanes` says how the local lattice was cut. Collective."""
    large, kind = case["kind"].endswith(LARGE), KINDS[case["kind"].removesuffix(LARGE)]
    limits = {"slhmc.lattice.lattice.PREFETCH_SITES": 0, "slhmc.lattice.lattice.MEMORY_BYTES": 0,
              "slhmc.lattice.halo.IN_PLACE_BYTES": 0, "slhmc.backend.device.Device.tile_bytes": 1} if large else {}
    lattice = Lattice(case["extent"], communicator=communicator, ranks=case["ranks"])
    with ExitStack() as stack:
        for name, limit in limits.items():
            stack.enter_context(mock.patch(name, limit))
        layout = lattice.layout("double")
        assert (layout.tiles(1)[0].count > 1) == large, "a lattice in tiles where none was asked for, or the other way round"
        found = {"lanes": layout.lanes} | kind(lattice, case["colors"])
    return {f"{case['name']}/{name}": value for name, value in found.items() if lattice.is_root}


def main():
    from mpi4py import MPI

    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    results = {}
    for case in job["cases"]:
        results |= results_of(case, MPI.COMM_WORLD)
    if MPI.COMM_WORLD.rank == 0:
        np.savez(job["output"], **results)


if __name__ == "__main__":
    main()
