"""Memory that is used again as soon as nobody holds it.

    blocks = Blocks()
    rows = Windows.text(16, 4096, allocate=blocks.take)

Fresh memory costs a page fault for each 4 KiB when it is first written, several times what copying tokens into it does.
"""

import sys
import threading

import numpy as np

from .windows import Allocate, Bytes, fresh_bytes

_UNUSED_TAKES = 256  # after which a block is let go: a larger batch, or a few more at once, may come back before


class Blocks:
    """As many blocks of memory as were held at once, the one given out last first: it is likeliest still in the cache.

    A block is free when no array made from it is left, which its reference count tells: whoever keeps a batch, one of
    its arrays, or a tensor that shares its memory, keeps it unchanged for as long. If no block is free a new one is
    made. One that ``unused_takes`` others were preferred to is let go, or left to its holders: holding much costs
    memory for as long as it lasts, never data.

    >>> blocks = Blocks()
    >>> first = blocks.take(8)
    >>> first[:] = 7
    >>> kept = first[:4].view(np.uint32)
    >>> del first
    >>> blocks.take(8)[:] = 0
    >>> hex(kept[0])
    '0x7070707'
    """

    def __init__(self, *, allocate: Allocate = fresh_bytes, unused_takes: int = _UNUSED_TAKES) -> None:
        self._allocate, self._unused_takes = allocate, unused_takes
        self._blocks: list[Bytes] = []  # in the order in which they were given out last
        self._given: list[int] = []  # the number of that take
        self._takes = 0
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> Bytes:
        """So many bytes with any content, of a block that nobody holds."""
        with self._lock:
            self._takes += 1
            self._let_go()
            self._blocks.append(self._free(num_bytes))
            self._given.append(self._takes)
            return self._blocks[-1][:num_bytes]

    def _let_go(self) -> None:
        while self._given and self._given[0] <= self._takes - self._unused_takes:
            del self._blocks[0], self._given[0]

    def _free(self, num_bytes: int) -> Bytes:
        for k in reversed(range(len(self._blocks))):
            if _holders(self._blocks, k) == _NOBODY and self._blocks[k].nbytes >= num_bytes:
                del self._given[k]
                return self._blocks.pop(k)
        memory = self._allocate(num_bytes)
        return np.frombuffer(memory.data, np.uint8)  # of a view, numpy would count the whole


def _holders(blocks: list[Bytes], k: int) -> int:
    return sys.getrefcount(blocks[k])


_NOBODY = _holders([np.empty(1, np.uint8)], 0)
