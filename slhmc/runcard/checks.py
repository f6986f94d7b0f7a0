"""What must hold between the keys of a card. Each check yields (path of the key to mend, words).

A check also sees cards with faults: a value that is missing or of the wrong type is None there (an empty tuple for
`fermion_boundary`), and a check that needs it stays silent.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

from slhmc.runcard.base import LARGEST_MASS
from slhmc.runcard.fit_checks import draws_links, fit_faults
from slhmc.runcard.flow import flow_faults
from slhmc.runcard.guide import NetworkTable, merged_quark, merged_solver
from slhmc.runcard.potential import potential_faults
from slhmc.runcard.quarks import COMMON_KEYS, FIELD_FLAVORS, OPERATOR_KEYS, OPTIONAL_KEYS
from slhmc.runcard.train import train_faults

Fault = tuple[tuple[str | int, ...], str]


def cross_faults(card: Any) -> Iterator[Fault]:
    """All faults between keys of `card`, a RunCard or what is valid of one."""
    if card.lattice is not None:
        yield from _directions(card.lattice)
        yield from _rank_grid(card.lattice)
        yield from _lanes(card.lattice)
    if card.gauge is not None:
        yield from _rectangle_coefficient(card.gauge)
    yield from _quarks(card)
    yield from _flow_and_potential(card)
    yield from _update(card)
    yield from _levels(card)
    if card.run is not None:
        yield from _start(card.run)
    yield from _chronological(("solver",), card.solver, card.quarks or ())
    yield from guide_faults(card)
    yield from train_faults(card)
    yield from fit_faults(card)


def _directions(lattice: Any) -> Iterator[Fault]:
    if not lattice.extent:
        return
    for key in ("fermion_boundary", "ranks"):
        entries = getattr(lattice, key)
        if entries and len(entries) != len(lattice.extent):
            yield ("lattice", key), f"{_entries(len(entries))} for {len(lattice.extent)} directions of lattice.extent"


def _rank_grid(lattice: Any) -> Iterator[Fault]:
    for direction, (extent, ranks) in enumerate(zip(lattice.extent or (), lattice.ranks or (), strict=False)):
        if extent % ranks or extent // ranks % 2:
            yield (
                ("lattice", "ranks", direction),
                f"{ranks} ranks cut extent {extent} into {extent / ranks:.4g} sites each; it must be an even number",
            )


def _lanes(lattice: Any) -> Iterator[Fault]:
    """Lanes are equal sub-blocks of even extents, cut only along directions that ranks do not split."""
    if not lattice.lanes or not lattice.extent:
        return
    ranks = lattice.ranks or (1,) * len(lattice.extent)
    most = prod(_largest_power_of_two(extent) // 2 for extent, n in zip(lattice.extent, ranks, strict=False) if n == 1)
    if lattice.lanes > most:
        found = f"{'x'.join(map(str, lattice.extent))} on {'x'.join(map(str, ranks))} ranks has at most {most}"
        yield ("lattice", "lanes"), f"{lattice.lanes} lanes need as many sub-blocks of even extents; {found}"


def _largest_power_of_two(extent: int) -> int:
    """The largest power of two that divides `extent`."""
    return extent & -extent


def _rectangle_coefficient(gauge: Any) -> Iterator[Fault]:
    if gauge.action == "custom" and gauge.c1 is None:
        yield ("gauge", "action"), '"custom" needs the rectangle coefficient gauge.c1'
    if gauge.action not in ("custom", None) and gauge.c1 is not None:
        yield ("gauge", "c1"), f'"{gauge.action}" fixes c1; use action = "custom" to choose it'


def _quarks(card: Any) -> Iterator[Fault]:
    valence = (card.measure.quarks if card.measure is not None else None) or ()
    colors = card.lattice.colors if card.lattice is not None else None
    if (card.quarks or valence) and colors is not None and colors not in (2, 3):
        yield ("lattice", "colors"), f"quarks need 2 or 3 colors, found {colors}"
    for index, quark in enumerate(card.quarks or ()):
        yield from ((("quarks", index, *where), words) for where, words in _rational_range(quark, card.lattice))
    yield from _measured_quarks(card)
    everything = [(("quarks", index), quark) for index, quark in enumerate(card.quarks or ())]
    everything += [(("measure", "quarks", index), quark) for index, quark in enumerate(valence)]
    for path, quark in everything:
        if quark.operator in OPERATOR_KEYS:
            yield from ((path + where, words) for where, words in quark_faults(quark))
            extent = card.lattice.extent if card.lattice is not None else None
            if extent and len(extent) != 4 and quark.operator != "staggered":
                yield (*path, "operator"), (f'"{quark.operator}" needs four directions, lattice.extent has {len(extent)}; use '
                                            '"staggered" or four extents')


def _flow_and_potential(card: Any) -> Iterator[Fault]:
    extent = card.lattice.extent if card.lattice is not None else None
    for name, faults in (("gradient_flow", flow_faults), ("static_potential", potential_faults)):
        table = getattr(card.measure, name, None)
        if table is not None and extent:
            yield from ((("measure", name, *path), words) for path, words in faults(table, extent))


def _measured_quarks(card: Any) -> Iterator[Fault]:
    """Condensates and mesons need quarks, a residual mass domain walls: valence quarks, or the dynamical ones."""
    if card.measure is None or card.quarks is None or card.measure.quarks is None:
        return
    quarks = card.measure.quarks or card.quarks
    for name, words in (("chiral_condensate", "whose condensate it is"), ("mesons", "which mesons are made of")):
        if getattr(card.measure, name) is not None and not quarks:
            yield ("measure", name), f"needs at least one [[quarks]], {words}"
    if card.measure.residual_mass is None:
        return
    walls = [quark for quark in quarks if quark.operator in ("domain_wall", "moebius")]
    if not walls and all(quark.operator for quark in quarks):
        found = ", ".join(sorted({f'"{quark.operator}"' for quark in quarks})) or "no quarks"
        yield ("measure", "residual_mass"), f'needs a quark with operator "domain_wall" or "moebius", found {found}'
    for quark in walls:
        if quark.Ls is not None and quark.Ls % 2:
            yield ("measure", "residual_mass"), f"is measured half-way between two slices: needs an even Ls, found {quark.Ls}"


def quark_faults(quark: Any) -> Iterator[Fault]:
    """Faults of one quark whose operator is known; paths begin in its table."""
    own = OPERATOR_KEYS[quark.operator]
    given = quark.model_fields_set
    for key in sorted(given - {*own, *COMMON_KEYS}):
        if getattr(quark, key) is not None:
            homes = " or ".join(f'"{name}"' for name, keys in OPERATOR_KEYS.items() if key in keys)
            yield (key,), (f'"{quark.operator}" has no key {key}; it has {", ".join((*own, *COMMON_KEYS[1:]))}'
                           + f", and {key} belongs to {homes}" * bool(homes))
    for key in own:
        if key not in given and key not in OPTIONAL_KEYS:
            yield (key,), f"missing: {type(quark).model_fields[key].description}"
    if not given & {"mass", "kappa"} & set(own):
        yield ("mass",), "missing: bare quark mass in lattice units" + ", or kappa" * ("kappa" in own)
    yield from _masses(quark)
    if quark.hasenbusch and "rational" in own and quark.rooted:
        yield ("hasenbusch",), ("a rational approximation is of the whole determinant; leave out hasenbusch, or flavors and "
                                "rational")
    if "rational" in own:
        yield from _root(quark)
    if quark.operator == "moebius" and None not in (quark.b5, quark.c5, quark.M5) and (quark.c5 - quark.b5) * (4 - quark.M5) >= 2:
        yield ("c5",), f"(c5 - b5) (4 - M5) must be less than 2, found {(quark.c5 - quark.b5) * (4 - quark.M5):g}; lower c5"


def _root(quark: Any) -> Iterator[Fault]:
    """Of a field's flavours a part is taken, or all; where no bounds of the spectrum are known, the card has them."""
    most = FIELD_FLAVORS[quark.operator]
    if quark.power > 1:
        yield ("flavors",), (f"must be at most {most}, the flavours of one field, found {quark.flavors}; add another [[quarks]] "
                             "for the others")
        return
    faulty = quark.rational is None and "rational" in quark.model_fields_set
    if quark.operator == "staggered" or not quark.rooted or faulty:
        return
    given = set() if quark.rational is None else quark.rational.model_fields_set
    for key, end in (("lowest", "lower"), ("highest", "upper")):
        if key not in given:
            yield ("rational", key), (f"missing: {end} end of the spectrum of M^+ M, for which no bound is known; begin with a "
                                      "guess: the first trajectory measures the spectrum and tells what to set if it is outside")


def _masses(quark: Any) -> Iterator[Fault]:
    if "kappa" in OPERATOR_KEYS[quark.operator] and quark.kappa is not None and "mass" in quark.model_fields_set:
        yield ("kappa",), "mass and kappa = 1 / (2 (4 + mass)) are both given; keep one"
        return
    by_kappa = "kappa" in OPERATOR_KEYS[quark.operator] and quark.kappa is not None
    last, whose = (quark.bare_mass if by_kappa else quark.mass), "the quark's mass"
    if last is not None and (words := _mass_out_of_range(quark.operator, last)):
        yield (("kappa",), f"mass = 1 / (2 kappa) - 4 {words}") if by_kappa else (("mass",), f"{words}, found {last:g}")
        return
    for index, mass in enumerate(quark.hasenbusch or ()):
        if last is not None and mass <= last:
            yield ("hasenbusch", index), (f"{mass:g} is not above {whose}, {last:.6g}; masses must become heavier and "
                                          "heavier, beginning above the quark's own")
        elif (words := _mass_out_of_range(quark.operator, mass)) is not None:
            yield ("hasenbusch", index), f"{words}, found {mass:g}"
        last, whose = mass, "the one before"


def _mass_out_of_range(operator: str, mass: float) -> str | None:
    if not abs(mass) <= LARGEST_MASS:
        return f"must be at most {LARGEST_MASS:g}"
    if operator == "staggered" and mass <= 0:
        return "must be greater than 0: a massless staggered operator has near-zero modes, no solver converges"
    if operator in ("domain_wall", "moebius") and not 0 < mass < 1:
        return "must be between 0 and 1, the mass of the Pauli-Villars field"
    if operator in ("wilson", "clover") and mass <= -4:
        return "must be greater than -4, where the diagonal 4 + mass vanishes"
    return None


def _rational_range(quark: Any, lattice: Any) -> Iterator[Fault]:
    """The range of [quarks.rational], with the bounds of staggered quarks, m^2 and m^2 + D^2, for what is left out."""
    lowest, highest = (None if quark.rational is None else getattr(quark.rational, end) for end in ("lowest", "highest"))
    given = {"lowest": lowest, "highest": highest}
    if quark.operator == "staggered" and quark.rooted and quark.mass is not None and 0 < quark.mass <= LARGEST_MASS:
        lowest = quark.mass**2 if lowest is None else lowest
        if highest is None and lattice is not None and lattice.extent:
            highest = quark.mass**2 + len(lattice.extent)**2
    if lowest == 0:
        yield ("mass",), (f"its square, the lower end of the spectrum, is 0 in double precision; give a larger one, "
                          f"found {quark.mass:g}")
    elif lowest is not None and highest is not None and lowest >= highest:
        key, other, words = ("lowest", highest, "less") if given["lowest"] is not None else ("highest", lowest, "greater")
        whose = f"{'highest' if words == 'less' else 'lowest'} = {other:g}"
        told = "" if None not in given.values() else f", {'m^2 + D^2' if words == 'less' else 'm^2'} for this quark"
        yield ("rational", key), f"must be {words} than {whose}{told}, found {given[key]:g}"


def _update(card: Any) -> Iterator[Fault]:
    if card.hmc is None and card.heat_bath is None and not draws_links(card):
        yield ("hmc",), "no update: the card needs [hmc] or [heat_bath]"
    if card.hmc is not None and card.heat_bath is not None:
        yield ("heat_bath",), "the card has [hmc] and [heat_bath]; keep one"
    elif card.heat_bath is not None:
        if card.quarks:
            yield ("heat_bath",), "a heat bath cannot update links with [[quarks]]; use [hmc]"
        if card.gauge is not None and card.gauge.action not in ("wilson", None):
            yield ("gauge", "action"), f'[heat_bath] knows only "wilson", found "{card.gauge.action}"; use [hmc]'


def _levels(card: Any) -> Iterator[Fault]:
    """Every action sits on a level that exists, and every level moves some action."""
    users = [(("gauge", "level"), card.gauge.level)] if card.gauge is not None else []
    for index, quark in enumerate(card.quarks or ()):
        users += _quark_levels(("quarks", index, "level"), quark)
        yield from _number_of_levels(("quarks", index, "level"), quark)
    known = [(path, level) for path, level in users if level is not None]
    if card.hmc is None:
        yield from ((path, "levels belong to [hmc]; leave it out") for path, level in known if level and card.heat_bath)
        return
    if card.hmc.inner is None:
        return
    deepest = len(card.hmc.inner)
    for path, level in known:
        if level > deepest:
            yield path, f"level {level} has no scheme: [hmc] is level 0 and hmc.inner has {_entries(deepest)}"
    if card.gauge is None or card.quarks is None or len(known) < len(users):
        return
    for unused in sorted(set(range(deepest + 1)) - {level for _, level in known}):
        path = ("hmc", "inner", unused - 1) if unused else ("hmc",)
        yield path, f"no action has level {unused}, so its steps would do nothing; set gauge.level or quarks.N.level"


def _quark_levels(path: tuple, quark: Any) -> list[tuple]:
    """(path, level) of each factor's time scale; one entry if it is the same for all."""
    if isinstance(quark.level, (list, tuple)):
        return [((*path, number), level) for number, level in enumerate(quark.level)]
    return [(path, quark.level)]


def _number_of_levels(path: tuple, quark: Any) -> Iterator[Fault]:
    if isinstance(quark.level, (list, tuple)) and quark.hasenbusch is not None:
        factors = len(quark.hasenbusch) + 1
        if len(quark.level) != factors:
            yield path, (f"{_entries(len(quark.level))} for {factors} factor{'s' * (factors > 1)} of the determinant; give one "
                         f"for each, the ratio of the lightest masses first")


def _entries(count: int) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


def _start(run: Any) -> Iterator[Fault]:
    if run.start == "file" and run.start_file is None:
        yield ("run", "start"), '"file" needs run.start_file'
    if run.start not in ("file", None) and run.start_file is not None:
        yield ("run", "start_file"), f'has a meaning only with start = "file", found start = "{run.start}"'


def _chronological(path: tuple, solver: Any, quarks: Any) -> Iterator[Fault]:
    if solver is None or solver.start != "chronological":
        return
    if quarks and all(quark.operator == "staggered" and quark.rooted for quark in quarks):
        yield (*path, "start"), 'the solves of rational approximations begin at zero, and no other quark is there; use "zero"'
        return
    if solver.force_tolerance is not None and solver.force_tolerance > 1e-10:
        yield (
            (*path, "start"),
            f"a chronological guess is reversible only with force_tolerance <= 1e-10, found {solver.force_tolerance:g}",
        )


# ---- smeared links and guides
DRIFTS = {"leapfrog": 1, "omelyan2": 2, "omf4": 5}  # of one step of each scheme


def guide_faults(card: Any) -> Iterator[Fault]:
    """Faults of [smearing], [network] and [guide]."""
    quarks = (card.quarks or ()) + tuple((card.measure.quarks if card.measure is not None else None) or ())
    for name, seen, words in (("smearing", quarks, "no [[quarks]] are there to see smeared links; leave it out"),
                              ("network", card.quarks, "no [[quarks]] are there to see the network's links; leave it out")):
        if (table := getattr(card, name)) is not None:
            if card.quarks is not None and not seen:
                yield (name,), words
            yield from _network((name,), table, card.lattice)
    if card.guide is None:
        if card.network is not None:
            yield ("network",), "belongs to a guide, but the card has no [guide]; the links of the target are those of [smearing]"
        return
    if card.heat_bath is not None:
        yield ("guide",), "a heat bath has no molecular dynamics to guide; use [hmc], or leave it out"
    yield from _guide_quarks(card)
    if (own := card.guide.solver) is not None:
        merged = own if card.solver is None else merged_solver(card.solver, own)
        yield from _chronological(("guide", "solver"), merged, ())
    yield from _correction(card.guide.correction, card.hmc)


def _network(path: tuple, table: NetworkTable, lattice: Any) -> Iterator[Fault]:
    loops = tuple(table.loops or ())
    for index, loop in enumerate(loops):
        if loop in loops[:index]:
            yield (*path, "loops", index), f'"{loop}" is there twice; each loop has one weight'
    if table.loops is not None and table.layers and not loops:
        yield (*path, "loops"), "a layer needs at least one loop; layers = 0 leaves the links as they are"
    if table.kind != "flow" and table.time_degree:
        yield (*path, "time_degree"), f'has a meaning only with kind = "flow", found "{table.kind}"'
    if None not in (table.weights, table.loops, table.layers, table.kind, table.time_degree):
        yield from _weights((*path, "weights"), table, len(loops))
    if lattice is not None and lattice.extent and len(lattice.extent) < 3:
        for index, loop in enumerate(loops):
            if loop.startswith("chair") or loop == "plaquette_ss":
                yield (*path, "loops", index), f'"{loop}" needs three directions, lattice.extent has {len(lattice.extent)}'


def _weights(path: tuple, table: NetworkTable, loops: int) -> Iterator[Fault]:
    one = {"flow": "power of time", "attention": "of rho, query, key and value in each layer"}.get(table.kind, "layer")
    if len(table.weights) != table.rows:
        yield path, f"{len(table.weights)} row{'s' * (len(table.weights) != 1)} found, {table.rows} expected, one for each {one}"
    for index, row in enumerate(table.weights):
        if isinstance(row, (list, tuple)) and len(row) != loops:
            yield (*path, index), f"{_numbers(len(row))} found, {loops} expected, one for each loop"


def _numbers(count: int) -> str:
    return f"{count} number" + "s" * (count != 1)


def _guide_quarks(card: Any) -> Iterator[Fault]:
    own, targets = card.guide.quarks, card.quarks
    if not own or targets is None:
        return
    if len(own) != len(targets):
        yield ("guide", "quarks"), f"{_entries(len(own))} for {len(targets)} [[quarks]]; give one for each, {{}} for no change"
        return
    for index, (quark, target) in enumerate(zip(own, targets, strict=True)):
        faulty = any(getattr(target, key) is None for key in target.model_fields_set)  # told of where it stands
        if target.operator in OPERATOR_KEYS and not faulty and not list(quark_faults(target)):
            yield from ((("guide", "quarks", index, *where), words) for where, words in _guide_quark(quark, target, card.lattice))


def _guide_quark(quark: Any, target: Any, lattice: Any) -> Iterator[Fault]:
    known = set(OPERATOR_KEYS[target.operator]) | {"hasenbusch", "factor"}
    alien = [key for key in sorted(quark.model_fields_set) if getattr(quark, key) is not None and key not in known]
    for key in alien:
        yield (key,), f'the target\'s quark is "{target.operator}", which has no key {key}'
    if alien:
        return
    if quark.rational is not None and not target.rooted:
        yield ("rational",), "the target takes the whole determinant, without a rational approximation; leave it out"
        return
    if quark.hasenbusch is not None and len(quark.hasenbusch) != len(target.hasenbusch):
        yield ("hasenbusch",), (f"{_entries(len(quark.hasenbusch))} for {len(target.hasenbusch)} of the target: the guide shares "
                                "the pseudofermions of each factor")
        return
    merged = merged_quark(target, quark)
    yield from quark_faults(merged)
    yield from _rational_range(merged, lattice)
    if quark.Ls is not None and quark.Ls != target.Ls:
        if target.Ls is not None and quark.Ls > target.Ls:
            yield ("Ls",), f"must be at most the target's, {target.Ls}, whose pseudofermions it takes slices of, found {quark.Ls}"
        elif quark.Ls % 2:
            yield ("Ls",), f"must be even, so that both walls lend as many slices, found {quark.Ls}"


def _correction(table: Any, hmc: Any) -> Iterator[Fault]:
    if table is None or hmc is None or None in (table.every, table.scheme, hmc.steps) or table.every == 1:
        return
    block = DRIFTS[table.scheme] * table.every
    if hmc.steps % block:
        drifts = f" times {DRIFTS[table.scheme]} drifts a step of {table.scheme}" * (table.scheme != "leapfrog")
        yield ("guide", "correction", "every"), f"{table.every}{drifts} does not divide hmc.steps = {hmc.steps}"
