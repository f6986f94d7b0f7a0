"""The winners of the searches of arXiv:2103.14686 (Phys. Rev. D 104, 074504), stage by stage.

Three places are not told apart in print; the published numbers of parameters decide them: no network that counts has biases; of
the one that detects (equivariant) the first linear map is the one without; the flattening ones that count begin behind the
2 x 2 sites with linear maps of 32, 16 and 16 inputs.
"""

from slhmc.errors import InputError
from slhmc.networks.convolutional.network import Stage

AVERAGE, MAXIMUM = Stage("average_pool"), Stage("max_pool")
GLOBAL_AVERAGE, GLOBAL_SUM, GLOBAL_MAX, FLATTEN = (
    Stage("global_average"), Stage("global_sum"), Stage("global_max"), Stage("flatten"))


def _convolution(kernel: int, channels: int, bias: bool = True) -> Stage:
    return Stage("convolution", channels, kernel, bias)


def _linear(channels: int, bias: bool = True) -> Stage:
    return Stage("linear", channels, 1, bias)


def _without_biases(*stages: Stage) -> tuple[Stage, ...]:
    return tuple(stage._replace(bias=False) if stage.channels else stage for stage in stages)


_C, _L = _convolution, _linear
PUBLISHED: dict[str, tuple[Stage, ...]] = {
    "regression_eq": (_C(1, 64), _C(1, 48), _C(1, 80), _C(2, 80), GLOBAL_AVERAGE, _L(2)),
    "regression_st": (_C(1, 80), _C(1, 80), _C(1, 48), AVERAGE, _C(2, 80), GLOBAL_AVERAGE, _L(2)),
    "regression_fl": (_C(1, 64), _C(2, 80), AVERAGE, _C(1, 48), _C(2, 64), AVERAGE, _C(1, 24), FLATTEN, _L(24), _L(2)),
    "detection_eq": (_C(2, 32), _C(1, 32), GLOBAL_MAX, _L(32, False), _L(1)),
    "detection_st": (_C(2, 16, False), MAXIMUM, _C(1, 16), _C(1, 8), GLOBAL_MAX, _L(32, False), _L(1)),
    "detection_fl": (_C(3, 8, False), MAXIMUM, _C(2, 32), AVERAGE, _C(2, 32), FLATTEN, _L(1, False)),
    "counting_eq1": _without_biases(_C(1, 32), _C(2, 8), _C(2, 16), _C(1, 8), GLOBAL_SUM, _L(1)),
    "counting_eq2": _without_biases(_C(2, 8), _C(2, 8), _C(1, 4), _C(1, 8), GLOBAL_SUM, _L(1)),
    "counting_eq3": _without_biases(_C(1, 4), _C(2, 8), _C(2, 4), _C(3, 1), GLOBAL_SUM),
    "counting_st1": _without_biases(_C(2, 16), _C(1, 32), _C(1, 32), AVERAGE, _C(1, 8), GLOBAL_SUM, _L(32), _L(1)),
    "counting_st2": _without_biases(_C(2, 4), MAXIMUM, _C(2, 4), GLOBAL_SUM, _L(1)),
    "counting_st3": _without_biases(_C(2, 4), AVERAGE, _C(3, 16), GLOBAL_SUM, _L(32), _L(1)),
    "counting_fl1": _without_biases(_C(2, 4), AVERAGE, _C(3, 8), AVERAGE, FLATTEN, _L(4), _L(32), _L(1)),
    "counting_fl2": _without_biases(_C(2, 8), AVERAGE, _C(3, 4), AVERAGE, FLATTEN, _L(4), _L(32), _L(1)),
    "counting_fl3": _without_biases(_C(2, 32), AVERAGE, _C(3, 4), AVERAGE, FLATTEN, _L(32), _L(16), _L(1)),
}


def published(name: str) -> tuple[Stage, ...]:
    """The stages of a published network, such as "counting_eq1"; InputError if there is none of that name."""
    if name not in PUBLISHED:
        raise InputError(f"no published network {name!r}; known are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]
