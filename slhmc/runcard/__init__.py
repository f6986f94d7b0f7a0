"""The typed run card: what a user writes in TOML, checked before anything is computed."""

from slhmc.runcard.fit import DataTable, FitTable, LayerTable, ModelTable
from slhmc.runcard.flow import FlowTable, LearnedFlowTable
from slhmc.runcard.fluxes import FluxCard, FluxModelTable
from slhmc.runcard.guide import CorrectionTable, GuideQuarkTable, GuideSolverTable, GuideTable, NetworkTable
from slhmc.runcard.measurement import load_measurement_card
from slhmc.runcard.potential import ANALYSIS_KEYS, PotentialChoices, StaticPotentialTable, potential_choices
from slhmc.runcard.quarks import QuarkTable
from slhmc.runcard.reader import Card, FitCard, json_schema, load_card, parse_card, with_paths
from slhmc.runcard.scalar import ScalarCard
from slhmc.runcard.tables import (
    CadenceTable,
    CondensateTable,
    GaugeTable,
    HeatBathTable,
    HMCTable,
    InnerTable,
    LatticeTable,
    MeasureTable,
    MesonsTable,
    ReferenceTable,
    ReferenceValue,
    ResidualMassTable,
    RunCard,
    RunTable,
    SolverTable,
)
from slhmc.runcard.train import TrainTable
from slhmc.runcard.writer import card_entries, card_text, toml_value

__all__ = [
    "ANALYSIS_KEYS",
    "CadenceTable",
    "Card",
    "CondensateTable",
    "CorrectionTable",
    "DataTable",
    "FitCard",
    "FitTable",
    "FlowTable",
    "FluxCard",
    "FluxModelTable",
    "GaugeTable",
    "GuideQuarkTable",
    "GuideSolverTable",
    "GuideTable",
    "HMCTable",
    "HeatBathTable",
    "InnerTable",
    "LatticeTable",
    "LayerTable",
    "LearnedFlowTable",
    "MeasureTable",
    "MesonsTable",
    "ModelTable",
    "NetworkTable",
    "PotentialChoices",
    "QuarkTable",
    "ReferenceTable",
    "ReferenceValue",
    "ResidualMassTable",
    "RunCard",
    "RunTable",
    "ScalarCard",
    "SolverTable",
    "StaticPotentialTable",
    "TrainTable",
    "card_entries",
    "card_text",
    "json_schema",
    "load_card",
    "load_measurement_card",
    "parse_card",
    "potential_choices",
    "toml_value",
    "with_paths",
]
