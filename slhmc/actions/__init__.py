"""Actions: values and forces of what is sampled and of what drives molecular dynamics."""

from slhmc.actions.action import Action, CompositeAction
from slhmc.actions.gauge import RECTANGLE_COEFFICIENTS, GaugeAction
from slhmc.actions.log_determinant import LogDeterminantAction
from slhmc.actions.pseudofermion import PseudofermionAction, QuarkAction
from slhmc.actions.ratio import RatioAction, StaggeredRatioAction
from slhmc.actions.rational import RationalAction, RationalSettings
from slhmc.actions.smeared import LinearCombination, SmearedAction, WallSlicesAction

__all__ = ["RECTANGLE_COEFFICIENTS", "Action", "CompositeAction", "GaugeAction", "LinearCombination", "LogDeterminantAction",
           "PseudofermionAction", "QuarkAction", "RatioAction", "RationalAction", "RationalSettings", "SmearedAction",
           "StaggeredRatioAction", "WallSlicesAction"]
