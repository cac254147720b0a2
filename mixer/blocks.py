"""Memory that is used again as soon as nobody holds it.

    blocks = Blocks(limit=6)
    rows = Windows.text(16, 4096, allocate=blocks.take)

Fresh memory costs a page fault for each 4 KiB when it is first written, several times what copying tokens into it does.
"""

import sys

import numpy as np

from .windows import Allocate, Bytes, fresh_bytes


class Blocks:
    """At most ``limit`` blocks of memory, the one given out last first: the fewest are touched, and they stay in cache.

    A block is free when no array made from it is left, which its reference count tells: whoever keeps a batch, one of
    its arrays, or a tensor that shares its memory, keeps it unchanged for as long. If no block is free a new one is
    made, and the oldest is left to its holders: holding much costs memory, never data.

    >>> blocks = Blocks(limit=2)
    >>> first = blocks.take(8)
    >>> first[:] = 7
    >>> kept = first[:4].view(np.uint32)
    >>> del first
    >>> blocks.take(8)[:] = 0
    >>> hex(kept[0])
    '0x7070707'
    """

    def __init__(self, *, limit: int, allocate: Allocate = fresh_bytes) -> None:
        self._limit, self._allocate = limit, allocate
        self._blocks: list[Bytes] = []

    def take(self, num_bytes: int) -> Bytes:
        """So many bytes with any content, of a block that nobody holds."""
        for k in reversed(range(len(self._blocks))):
            if _holders(self._blocks, k) == _NOBODY and self._blocks[k].nbytes >= num_bytes:
                self._blocks.append(self._blocks.pop(k))
                return self._blocks[-1][:num_bytes]
        memory = self._allocate(num_bytes)
        self._blocks.append(np.frombuffer(memory.data, np.uint8))  # of a view, numpy would count the whole
        del self._blocks[: -self._limit]
        return self._blocks[-1][:num_bytes]


def _holders(blocks: list[Bytes], k: int) -> int:
    return sys.getrefcount(blocks[k])


_NOBODY = _holders([np.empty(1, np.uint8)], 0)
