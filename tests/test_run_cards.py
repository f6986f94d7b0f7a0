"""Every shipped card runs, shortened, and says in its header what it is, what it costs and what to expect."""

import re
import tomllib

import pytest
from running import CARDS, sets, slhmc_command

from slhmc.io import EnsembleFile, FluxChains, load_fluxes, load_links
from slhmc.runcard import Card, ScalarCard, load_card

# What is shortened beside the number of trajectories (two, none for thermalization): lattices and steps of the cards
# whose trajectories take more than a fraction of a second. Everything else is as shipped.
SHORTER = {
    "su3_wilson_nf2_hmc": ("lattice.extent=[4,4,4,4]", "hmc.steps=2"),
    "su3_clover_nf2_hmc": ("lattice.extent=[4,4,4,4]", "hmc.steps=2"),
    "su3_moebius_nf2_hmc": ("lattice.extent=[4,4,4,4]", "hmc.steps=2"),
    "su3_staggered_nf4_hmc": ("lattice.extent=[4,4,4,4]",),
    "su3_staggered_nf21_rhmc": ("lattice.extent=[4,4,4,4]",),
    "production/su2_staggered_hmc_8x8": ("lattice.extent=[4,4,4,4]",),
    "production/su3_pure_gauge_hmc_16x16": ("lattice.extent=[8,8,8,8]",),
    "production/su3_staggered_nf4_hmc_16x8": ("lattice.extent=[4,4,4,4]",),
}
NAMES = sorted(str(path.relative_to(CARDS).with_suffix("")) for path in CARDS.rglob("*.toml"))
SCALAR = [name for name in NAMES if isinstance(load_card(CARDS / f"{name}.toml", (), Card), ScalarCard)]


def header_of(name):
    """The comment above the first table, as one line."""
    lines = (CARDS / f"{name}.toml").read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:end])


def test_cards_that_are_shortened_exist():
    assert set(SHORTER) < set(NAMES)


RUN = [name for name in NAMES if name not in SCALAR and load_card(CARDS / f"{name}.toml", (), Card).fit is None]


@pytest.mark.parametrize("name", RUN)
def test_a_card_runs(tmp_path, name):
    card = load_card(CARDS / f"{name}.toml")
    every = {key: 1 for key in ("rectangle", "chiral_condensate") if getattr(card.measure, key) is not None}
    shorter = ("run.trajectories=2", "run.thermalization=0", "run.save_every=" + str(min(card.run.save_every, 2)),
               *(f"measure.{key}.every=1" for key in every), *SHORTER.get(name, ()))
    assert slhmc_command("run", CARDS / f"{name}.toml", "-o", tmp_path / "run", *sets(*shorter)) == 0
    chain = EnsembleFile.open(tmp_path / "run" / "chain.h5")
    assert len(chain.records) == 2
    more = {f"chiral_condensate_{number}" for number in range(2, len(card.quarks) + 1) if "chiral_condensate" in every}
    assert {"plaquette", "polyakov_loop", *every} | more == set(chain.observables)
    if card.run.save_every:
        load_links(tmp_path / "run" / "configs" / "cfg_000002.h5", colors=card.lattice.colors)


@pytest.mark.parametrize("name", SCALAR)
def test_a_card_of_a_scalar_field_runs(tmp_path, name):
    card = load_card(CARDS / f"{name}.toml", (), ScalarCard)
    shorter = ("run.sweeps=2", "run.thermalization=0", "run.save_every=" + str(min(card.run.save_every, 2)))
    assert slhmc_command("run", CARDS / f"{name}.toml", "-o", tmp_path / "run", *sets(*shorter)) == 0
    assert FluxChains.open(tmp_path / "run" / "chain.h5").sweeps.tolist() == [1, 2]
    if card.run.save_every:
        assert load_fluxes(tmp_path / "run" / "configs" / "cfg_000002.h5").k.shape[1:] == (*reversed(card.lattice.extent), 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_tells_physics_cost_and_expectation(name):
    header = header_of(name)
    physics, found, rest = header.partition("Costs about ")
    assert len(physics) > 60 and found
    assert re.match(r"\d+ (s|minutes|hours|days) on one core\b", rest) and re.search(r"Expected: .*\d", rest)


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_are_shortened_are_in_the_card(name):
    """An override that sets what the card lacks would test another card."""
    for override in SHORTER.get(name, ()):
        table = tomllib.loads((CARDS / f"{name}.toml").read_text())
        for key in override.partition("=")[0].split("."):
            assert key in table
            table = table[key]
