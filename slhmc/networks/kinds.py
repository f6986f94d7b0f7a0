"""A network from what a card says of it."""

from slhmc.errors import InputError
from slhmc.networks.attention import AttentionNetwork
from slhmc.networks.network import Network

CLASSES = (Network, AttentionNetwork)
KINDS = tuple(kind for made in CLASSES for kind in made.kinds)
# in double precision, of the group and the dimensions
KERNEL_FILES = "links.cc", "loops.cc", "plaquette_layer.cc", "rectangle_layer.cc", "stout.cc"
ATTENTION_FILES = ("attention.cc",)


def make_network(kind: str, colors: int, dimensions: int, layers: int, loops, weights=None, time_degree: int = 0) -> Network:
    """A network as a card has it; see `Network` and `AttentionNetwork`. Raises InputError if something does not fit."""
    for made in CLASSES:
        if kind in made.kinds:
            return made(kind, colors, dimensions, layers, loops, weights, time_degree)
    raise InputError(f"network kind {kind!r}: one of {', '.join(KINDS)} expected")


def kernel_files(kinds) -> tuple[str, ...]:
    """Files of the kernels that networks of these kinds need."""
    return KERNEL_FILES + ATTENTION_FILES * bool({*kinds} & {*AttentionNetwork.kinds})
