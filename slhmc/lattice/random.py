"""Which random numbers a draw gets: Philox key (seed, purpose), counter (site, component, trajectory, draw)."""

from collections import Counter
from enum import IntEnum

from slhmc.backend.signatures import Random


class Purpose(IntEnum):
    """What a draw is for: the second word of the key, so that no two uses share a stream."""

    START = 0
    MOMENTA = 1
    PSEUDOFERMION = 2
    ACCEPT = 3
    NOISE = 4
    HEAT_BATH = 5
    SPECTRUM = 6
    TRAINING = 7
    WORM = 8
    OPEN_WORM = 9
    TEST = 255


class Draws:
    """The random numbers of one trajectory; the n-th request for a purpose is draw n of it."""

    def __init__(self, seed: int, trajectory: int):
        self.seed, self.trajectory = seed, trajectory
        self._used = Counter()

    def next(self, purpose: Purpose) -> Random:
        """Key and counter words of a fresh draw."""
        draw = self._used[purpose]
        self._used[purpose] += 1
        return Random(self.seed, purpose, self.trajectory, draw)
