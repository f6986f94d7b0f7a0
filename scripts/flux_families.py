"""Architectures on fluxes that a search draws from, for each of the three families of arXiv:2103.14686.

equivariant: convolutions, one global pool, linear maps. strided: pools of stride 2 behind some of the convolutions, one at least.
flattening: the same, flattened at the end. Kernels have 1 to 3 sites; a pool is left out where fewer than two sites would remain.
"""

import optuna

from slhmc.networks.convolutional import FAMILIES
from slhmc.runcard import FluxCard

KERNELS, WIDTHS, HIDDEN = (1, 2, 3), (4, 8, 16, 32, 48, 64, 80), (0, 1, 2)
ENDS = {"observables": ("global_average",), "violation": ("global_max", "global_average"), "open_worms": ("global_sum",)}
OUTPUTS = {"observables": 2, "violation": 1, "open_worms": 1}


def model_of_trial(trial: optuna.Trial, card: FluxCard, family: str, deepest: int, widest: int) -> tuple[str, str]:
    """(override of [model], its stages in short words)."""
    if family not in FAMILIES:
        raise SystemExit(f"--family {family}: one of {', '.join(FAMILIES)} expected")
    label, biases = card.data.label, trial.suggest_categorical("biases", (True, False))
    widths = [width for width in WIDTHS if width <= widest]
    depth, left, pooled, stages = trial.suggest_int("depth", 1, deepest), min(card.lattice.extent), False, []
    for layer in range(1, depth + 1):
        kernel = trial.suggest_categorical(f"kernel{layer}", KERNELS)
        kernel = kernel if kernel // 2 <= left else 1
        stages.append(("convolution", trial.suggest_categorical(f"channels{layer}", widths), kernel))
        if family != "equivariant" and left >= 4:
            kind = trial.suggest_categorical(f"pool{layer}", ("none", "average_pool", "max_pool"))
            if kind == "none" and layer == depth and not pooled:
                kind = "average_pool"  # one at least
            if kind != "none":
                stages.append((kind, 0, 1))
                left, pooled = left // 2, True
    stages.append(("flatten" if family == "flattening" else trial.suggest_categorical("end", ENDS[label]), 0, 1))
    for layer in range(1, trial.suggest_categorical("hidden", HIDDEN) + 1):
        stages.append(("linear", trial.suggest_categorical(f"nodes{layer}", widths), 1))
    stages.append(("linear", OUTPUTS[label], 1))
    return f"model={{layers = [{', '.join(_toml(*stage, biases) for stage in stages)}]}}", " ".join(_short(*s) for s in stages)


def _toml(kind: str, channels: int, kernel: int, biases: bool) -> str:
    words = f'kind = "{kind}"' + (f", channels = {channels}, bias = {str(biases).lower()}" if channels else "")
    return "{" + words + (f", kernel = {kernel}" if kind == "convolution" else "") + "}"


def _short(kind: str, channels: int, kernel: int) -> str:
    return f"{channels}@{kernel}" if kind == "convolution" else f"lin{channels}" if channels else kind
