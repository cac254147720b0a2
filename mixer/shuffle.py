"""The order of a source's rows: a keyed bijection that answers for any row at once, so nothing is ever shuffled.

    key = key_of(1234, "web", generation=0, epoch=2)
    permute([0, 1, 2], size=1_000_000, key=key)      # the first three rows of that epoch
    unpermute(row, size=1_000_000, key=key)          # when the epoch reads that row

A number is split into its lower half of bits and the rest, and goes through a Feistel network of eight rounds: the low
part changes by exclusive or, the high part by steps on a ring no longer than it must be. A result outside 0 .. size - 1
goes through again until it falls inside ("cycle walking"); few do, since fewer than 2 sqrt(size) numbers lie outside.
Both are bijections, whatever the size.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

ROUNDS = 8
MAX_SIZE = 2**62  # halves of at most 32 bits
_LEAST_DOMAIN = 32  # so small a network as one bit a half can not reach every order of a few rows
_HALF_WORD = np.uint64(32)


def key_of(seed: int, source_name: str, *, generation: int, epoch: int) -> tuple[int, ...]:
    """Round keys of one epoch: eight 64-bit words that no other seed, source, generation or epoch shares.

    >>> len(key_of(1234, "web", generation=0, epoch=0))
    8
    """
    return struct.unpack(f"<{ROUNDS}Q", key_bytes(seed, source_name, generation, epoch))


@lru_cache(maxsize=2**14)
def key_bytes(seed: int, source_name: str, generation: int, epoch: int) -> bytes:
    """The words of ``key_of``, 64-bit and little-endian."""
    message = struct.pack("<qqq", seed, generation, epoch) + source_name.encode()
    return hashlib.blake2b(message, digest_size=8 * ROUNDS, person=b"mixer.shuffle").digest()


def permute(index: npt.ArrayLike, size: npt.ArrayLike, key: npt.ArrayLike) -> Ints:
    """Image of each index under a bijection of 0 .. size - 1, for sizes from 1 to 2^62.

    ``index`` and ``size`` broadcast together, and ``key`` (its eight words last) with them, so that one call serves
    indices of different domains and keys.

    >>> sorted(permute(range(5), 5, key_of(0, "web", generation=0, epoch=0)).tolist())
    [0, 1, 2, 3, 4]
    """
    return _walk(index, size, key, inverse=False)


def unpermute(image: npt.ArrayLike, size: npt.ArrayLike, key: npt.ArrayLike) -> Ints:
    """Inverse of ``permute``.

    >>> key = key_of(0, "web", generation=0, epoch=0)
    >>> unpermute(permute(range(5), 5, key), 5, key).tolist()
    [0, 1, 2, 3, 4]
    """
    return _walk(image, size, key, inverse=True)


@dataclass(frozen=True)
class _Network:
    """Feistel networks, one a lane; round r mixes one part with key r and adds it to the other."""

    high_size: Words  # (lanes,) how many values the higher part has
    low_mask: Words  # (lanes,)
    low_bits: Words  # (lanes,)
    keys: Words  # (ROUNDS, lanes), or (ROUNDS, 1) for one key

    @classmethod
    def of(cls, size: Ints, keys: Words) -> "_Network":
        size = np.maximum(size, _LEAST_DOMAIN)
        bits = np.frexp((size - 1).astype(np.float64))[1]
        low_bits = ((bits + 1) // 2).astype(np.uint64)
        low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
        high_size = (size.astype(np.uint64) + low_mask) >> low_bits
        return cls(high_size=high_size, low_mask=low_mask, low_bits=low_bits, keys=keys)

    def take(self, lanes: Ints) -> "_Network":
        keys = self.keys if self.keys.shape[1] == 1 else self.keys[:, lanes]
        return _Network(self.high_size[lanes], self.low_mask[lanes], self.low_bits[lanes], keys)

    def apply(self, value: Ints, *, inverse: bool) -> Ints:
        word = value.astype(np.uint64)
        high, low = word >> self.low_bits, word & self.low_mask
        for r in range(ROUNDS)[:: -1 if inverse else 1]:
            if r % 2:
                high = self._turned(high, _mix(low + self.keys[r]), inverse=inverse)
            else:
                low ^= _mix(high + self.keys[r]) & self.low_mask
        return ((high << self.low_bits) | low).astype(np.int64)

    def _turned(self, high: Words, fraction: Words, *, inverse: bool) -> Words:
        """Higher parts moved forward, or back, on their ring by a fraction of it, in units of 2^-32."""
        steps = (fraction * self.high_size) >> _HALF_WORD
        once = high - steps if inverse else high + steps
        around = once + self.high_size if inverse else once - self.high_size
        return np.minimum(once, around)  # what is not on the ring is beyond it, or wrapped to far beyond


def _walk(index: npt.ArrayLike, size: npt.ArrayLike, key: npt.ArrayLike, *, inverse: bool) -> Ints:
    index, size = np.broadcast_arrays(np.asarray(index, np.int64), np.asarray(size, np.int64))
    keys = np.asarray(key, np.uint64)
    if keys.ndim > 1:
        keys = np.broadcast_to(keys, (*index.shape, ROUNDS))
    value, limit = index.ravel(), size.ravel()
    assert bool(((value >= 0) & (value < limit) & (limit <= MAX_SIZE)).all()), "index outside 0 .. size - 1"
    network = _Network.of(limit, np.ascontiguousarray(keys.reshape(-1, ROUNDS).T))
    value = network.apply(value, inverse=inverse)
    outside = np.flatnonzero(value >= limit)
    while outside.size:
        value[outside] = network.take(outside).apply(value[outside], inverse=inverse)
        outside = outside[value[outside] >= limit[outside]]
    return value.reshape(index.shape)


def _mix(word: Words) -> Words:
    """Spread the 64 bits of ``word`` over the lower 32 of the result."""
    word = word * np.uint64(0xBF58476D1CE4E5B9)
    word ^= word >> np.uint64(31)
    word *= np.uint64(0x94D049BB133111EB)
    word >>= _HALF_WORD
    return word
