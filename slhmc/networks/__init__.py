"""Networks of gauge-covariant layers: smeared links with trainable weights, and the way back for forces and gradients."""

from slhmc.networks.kinds import KINDS, kernel_files, make_network
from slhmc.networks.loops import LOOPS
from slhmc.networks.network import Network

__all__ = ["KINDS", "LOOPS", "Network", "kernel_files", "make_network"]
