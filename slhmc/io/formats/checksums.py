"""Checksums of the field's formats, added up block by block and rank by rank.

All are sums over words or sites in which order enters at most through a rotation by the number modulo 29 or 31. Words of
equal rotation are added (exclusive or) first, for whole arrays at once; what is left to do one by one are 29 + 31 numbers.
"""

import zlib
from abc import ABC, abstractmethod

import numpy as np

MODULI = (29, 31)
_MASK = 0xFFFFFFFF


class Checksum(ABC):
    """`state` is two words; those of the ranks are joined by `combine`."""

    def __init__(self) -> None:
        self.state = [0, 0]

    @abstractmethod
    def add(self, data: np.ndarray, first: int) -> None:
        """Add sites from number `first` on: an array of reals in the byte order of the file, [site, reals of a site]."""

    @abstractmethod
    def combine(self, states: list[list[int]]) -> None:
        """Take the sum of the states of all ranks."""

    @abstractmethod
    def text(self) -> str:
        """As headers have it."""


class _Rotated(Checksum):
    """Two words, exclusive or of words rotated by their number modulo 29 and modulo 31."""

    def combine(self, states: list[list[int]]) -> None:
        self.state = [int(np.bitwise_xor.reduce([state[k] for state in states])) for k in range(2)]


class SciDACChecksum(_Rotated):
    """Exclusive or over sites s of rotate(crc32(bytes of s), s mod 29), and mod 31.

    crc32 is affine: the crc32 of n messages of one length, exclusive or of all, is that of the exclusive or of the messages,
    times that of zeros if n is even.
    """

    def add(self, data: np.ndarray, first: int) -> None:
        words, zeros = _words(data), zlib.crc32(bytes(data.shape[1] * data.itemsize))
        for k, modulus in enumerate(MODULI):
            sums, counts = _fold(words, modulus)
            for j in range(min(modulus, len(words))):
                crc = zlib.crc32(sums[j].tobytes()) ^ (0 if counts[j] % 2 else zeros)
                self.state[k] ^= _rotate(crc, (first + j) % modulus)

    def add_sites(self, data: np.ndarray, numbers: np.ndarray) -> None:
        """As `add`, of sites with these numbers in any order."""
        words, zeros = _words(data), zlib.crc32(bytes(data.shape[1] * data.itemsize))
        for k, modulus in enumerate(MODULI):
            rotations = numbers % modulus
            order = np.argsort(rotations, kind="stable")
            found, begins, counts = np.unique(rotations[order], return_index=True, return_counts=True)
            sums = np.bitwise_xor.reduceat(words[order], begins, axis=0)
            for rotation, total, count in zip(found, sums, counts, strict=True):
                self.state[k] ^= _rotate(zlib.crc32(total.tobytes()) ^ (0 if count % 2 else zeros), int(rotation))

    def text(self) -> str:
        return f"{self.state[0]:x} {self.state[1]:x}"


class MILCChecksum(_Rotated):
    """Exclusive or over 32-bit words w, numbered i, of rotate(w, i mod 29), and mod 31."""

    def add(self, data: np.ndarray, first: int) -> None:
        words = data.reshape(-1).view(data.dtype.str[0] + "u4")[:, None]
        begin = first * data.shape[1]
        for k, modulus in enumerate(MODULI):
            sums, _ = _fold(words, modulus)
            for j in range(min(modulus, len(words))):
                self.state[k] ^= _rotate(int(sums[j, 0]), (begin + j) % modulus)

    def text(self) -> str:
        return f"{self.state[0]:x} {self.state[1]:x}"


class NERSCChecksum(Checksum):
    """Sum of all 32-bit words modulo 2^32."""

    def add(self, data: np.ndarray, first: int) -> None:
        words = data.reshape(-1).view(data.dtype.str[0] + "u4")
        self.state[0] = (self.state[0] + int(words.sum(dtype=np.uint64))) & _MASK

    def combine(self, states: list[list[int]]) -> None:
        self.state = [sum(state[0] for state in states) & _MASK, 0]

    def text(self) -> str:
        return f"{self.state[0]:x}"


def _words(data: np.ndarray) -> np.ndarray:
    """The bytes of sites as few integers."""
    return data.view(np.uint64 if data.shape[1] * data.itemsize % 8 == 0 else np.uint32)


def _rotate(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK


def _fold(words: np.ndarray, modulus: int) -> tuple[np.ndarray, np.ndarray]:
    """Exclusive or of rows j, j + modulus, ... for each j, and how many they are."""
    whole = len(words) // modulus
    sums = np.zeros((modulus, words.shape[1]), words.dtype)
    np.bitwise_xor.reduce(words[:whole * modulus].reshape(whole, modulus, words.shape[1]), axis=0, out=sums)
    rest = len(words) - whole * modulus
    sums[:rest] ^= words[whole * modulus:]
    return sums, whole + (np.arange(modulus) < rest)
