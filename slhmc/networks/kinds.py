"""A network from what a card says of it."""

from slhmc.networks.attention import AttentionNetwork
from slhmc.networks.network import Network

# in double precision, of the group and the dimensions
KERNEL_FILES, ATTENTION_FILES = ("links.cc", "loops.cc", "stout.cc"), ("attention.cc",)


def make_network(kind: str, colors: int, dimensions: int, layers: int, loops, weights=None, time_degree: int = 0) -> Network:
    """A network as a card has it; see `Network` and `AttentionNetwork`. Raises InputError if something does not fit."""
    made = AttentionNetwork if kind == "attention" else Network
    return made(kind, colors, dimensions, layers, loops, weights, time_degree)


def kernel_files(kinds) -> tuple[str, ...]:
    """Files of the kernels that networks of these kinds need."""
    return KERNEL_FILES + ATTENTION_FILES * ("attention" in kinds)
