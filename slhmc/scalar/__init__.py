"""Complex scalar field in 1+1 dimensions with chemical potential, sampled in its dual formulation by integer fluxes."""

from slhmc.scalar.weights import log_weights, weight_ratios
from slhmc.scalar.worm import TABLE_LENGTH, WormSampler, divergence, site_powers

__all__ = ["TABLE_LENGTH", "WormSampler", "divergence", "log_weights", "site_powers", "weight_ratios"]
