"""Which traced Wilson loops a stack of L-CB layers covers: enumeration of words of the free group, without any numbers.

A closed path from a site is a reduced word of the free group of the directions: letters x, y, ... are steps forward, X, Y,
... steps back, and no letter stands beside its inverse. One channel of plaquettes goes in, xyXY and so on for each plane. An
L-CB layer makes all products a t of a word a of A = {1, W, W^+} and one of T = {1} and mu^r A mu^-r for its shifts r, so the
words after a layer do not depend on the number of channels or on weights. The trace makes words that are rotations of each
other after cyclic reduction one loop: a conjugacy class of the group. Both orientations count, and so does the loop of
length 0, the unit; translations of a loop are one.

Shifts r of a kernel of size k: 1 ... k-1 in "arxiv_v1" (for k = 1 the local term alone), 0 ... k-1 in "prl_2022", and -(k-1)
... k-1 if symmetric. Source: Favoni et al., arXiv:2012.12901, version 1 and Phys. Rev. Lett. 128, 032003.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import gcd

from slhmc.errors import InputError

DIRECTIONS = "xyzt"
CONVENTIONS = ("arxiv_v1", "prl_2022")


def inverse(word: str) -> str:
    """The path walked back."""
    return word[::-1].swapcase()


def product(first: str, second: str) -> str:
    """The reduced word of two reduced words."""
    cancelled = 0
    for left, right in zip(reversed(first), second, strict=False):
        if left != right.swapcase():
            break
        cancelled += 1
    return first[:len(first) - cancelled] + second[cancelled:]


def loop(word: str) -> str:
    """What the trace sees of a reduced word: cyclically reduced, the first of its rotations in alphabetical order."""
    ends = 0
    while 2 * ends < len(word) and word[ends] == word[-1 - ends].swapcase():
        ends += 1
    core = word[ends:len(word) - ends]
    twice = core + core
    return min((twice[first:first + len(core)] for first in range(len(core))), default="")


def plaquette_words(dimensions: int) -> set[str]:
    """xyXY and so on, one for each plane."""
    forward = DIRECTIONS[:dimensions]
    return {mu + nu + mu.upper() + nu.upper() for number, mu in enumerate(forward) for nu in forward[number + 1:]}


def shifts(kernel: int, convention: str, symmetric: bool = False) -> list[int]:
    """Distances along a direction over which an L-CB layer transports; 0 is its local term."""
    if convention not in CONVENTIONS:
        raise InputError(f"L-CB convention {convention!r}: one of {', '.join(CONVENTIONS)} expected")
    if kernel < 1:
        raise InputError(f"kernel size {kernel}: 1 or more expected")
    if symmetric:
        return list(range(1 - kernel, kernel))
    if convention == "prl_2022" or kernel == 1:
        return list(range(kernel))
    return list(range(1, kernel))


def transport(word: str, direction: str, distance: int) -> str:
    """mu^r w mu^-r."""
    there = (direction if distance > 0 else direction.upper()) * abs(distance)
    return product(product(there, word), inverse(there))


def after_layer(words: set[str], distances: Sequence[int], dimensions: int) -> set[str]:
    """The words after an L-CB layer that transports over `distances` in each direction; the unit is always among them."""
    local = {"", *words, *map(inverse, words)}
    transported = {""} | {transport(word, direction, distance)
                          for word in local for direction in DIRECTIONS[:dimensions] for distance in distances}
    return {product(first, second) for first in local for second in transported}


def covered_loops(kernels: Iterable[int], convention: str = "arxiv_v1", symmetric: bool = False, dimensions: int = 2,
                  local_term: bool = True) -> set[str]:
    """The traced loops that a stack of L-CB layers of these kernel sizes covers, each as a word.

    local_term: False for a kernel of size 1 with an empty transported list, which is how the published table counts 1x1.
    Raises InputError for unknown conventions and for kernels below 1.
    """
    words = plaquette_words(dimensions)
    for kernel in kernels:
        distances = shifts(kernel, convention, symmetric)
        words = after_layer(words, distances if kernel > 1 or local_term else (), dimensions)
    return {loop(word) for word in words}


def by_length(loops: Iterable[str]) -> dict[int, int]:
    """Number of loops of each length that occurs."""
    return dict(sorted(Counter(map(len, loops)).items()))


def loops_of_lattice(longest: int) -> dict[int, int]:
    """Number of all closed loops on Z^2 of each even length up to `longest`, both orientations, up to translation.

    Of length n there are (1/n) sum_{d | n} phi(n / d) c(d): c(d) counts the cyclically reduced words of d letters that come
    back to where they began, phi is Euler's (rotations of a word by a divisor of its length leave its powers alone).
    """
    words = _closed_words(longest)
    return {length: sum(_totient(length // divisor) * words[divisor] for divisor in range(2, length + 1, 2)
                        if length % divisor == 0) // length for length in range(4, longest + 1, 2)}


def _closed_words(longest: int) -> list[int]:
    """c(d) for d = 0 ... longest: walks that begin with x, times four as all first letters are alike."""
    steps = {"x": (1, 0), "y": (0, 1), "X": (-1, 0), "Y": (0, -1)}
    walks, closed = {(1, 0, "x"): 1}, [0, 0]
    for _ in range(2, longest + 1):
        ahead: Counter = Counter()
        for (x, y, last), number in walks.items():
            for letter, (dx, dy) in steps.items():
                if letter != last.swapcase():
                    ahead[x + dx, y + dy, letter] += number
        walks = ahead
        closed.append(4 * sum(walks.get((0, 0, last), 0) for last in "xyY"))
    return closed


def _totient(number: int) -> int:
    return sum(gcd(number, smaller) == 1 for smaller in range(1, number + 1))
