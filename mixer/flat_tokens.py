"""Arrays of tokens laid end to end and read as one, whatever file and dtype each of them has.

arrays    [ 7 8 9 ]  [ 1 2 ]  [ 3 4 5 6 ]        starts 0 3 5 9
windows(starts=[1], length=3)  [[8 9 1]]         a window runs on over the joint
"""

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


@dataclass(frozen=True, eq=False)
class FlatTokens:
    """1-D arrays of integers of any dtype; positions run through all of them.

    >>> flat = FlatTokens((np.array([7, 8, 9], np.uint16), np.array([1, 2], np.int32)))
    >>> flat.ranges(np.array([2, 0]), np.array([3, 1])).tolist()
    [9, 1, 2, 7]
    """

    arrays: Sequence[npt.NDArray[Any]]
    _views: dict[int, npt.NDArray[Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def starts(self) -> Ints:
        """First position of each array, and at last the length of all: (arrays + 1,)."""
        return np.concatenate([[0], np.cumsum([len(array) for array in self.arrays], dtype=np.int64)])

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest integer type that holds every array's tokens."""
        return np.result_type(*{array.dtype for array in self.arrays})

    def windows(self, starts: Ints, length: int) -> npt.NDArray[Any]:
        """Tokens [start, start + length) of each start: (starts, length), of ``dtype``.

        Where there is one array, all windows are gathered at once; else they are copied one by one, which is as fast
        from a few hundred tokens on.
        """
        if len(self.arrays) == 1:
            return self._window_view(length)[starts]
        out = np.empty((len(starts), length), self.dtype)
        which = np.searchsorted(self.starts, starts, side="right") - 1
        inside = starts + length <= self.starts[which + 1]
        each = zip(which.tolist(), (starts - self.starts[which]).tolist(), inside.tolist(), strict=True)
        for row, (array, first, whole) in enumerate(each):
            if whole:
                out[row] = self.arrays[array][first : first + length]
            else:
                out[row] = self.ranges(starts[row : row + 1], np.array([length]))
        return out

    def ranges(self, firsts: Ints, lengths: Ints) -> Ints:
        """Tokens of each range, end to end."""
        out = np.empty(int(lengths.sum()), np.int64)
        which, begins, ends = split_at(self.starts, firsts, firsts + lengths)
        places = np.cumsum(ends - begins) - (ends - begins)
        shift = self.starts[which]
        parts = zip(which.tolist(), (begins - shift).tolist(), (ends - shift).tolist(), places.tolist(), strict=True)
        for array, begin, end, place in parts:
            out[place : place + end - begin] = self.arrays[array][begin:end]
        return out

    def views(self, firsts: Ints, lengths: Ints) -> list[npt.NDArray[Any]]:
        """Each range as it lies in its array, without a copy; none of them crosses a joint."""
        which = np.searchsorted(self.starts, firsts, side="right") - 1
        local = firsts - self.starts[which]
        each = zip(which.tolist(), local.tolist(), (local + lengths).tolist(), strict=True)
        return [self.arrays[array][first:end] for array, first, end in each]

    def sums(self, firsts: Ints, lengths: Ints) -> Ints:
        """Sum of each range; ranges are in order and apart, and none of them crosses a joint."""
        sums = np.zeros(len(firsts), np.int64)
        which = np.searchsorted(self.starts, firsts, side="right") - 1
        for array in np.unique(which[lengths > 0]).tolist():
            mine = np.flatnonzero((which == array) & (lengths > 0))
            local = firsts[mine] - self.starts[array]
            edges = np.stack([local, local + lengths[mine]], axis=1).ravel()
            values = self.arrays[array]
            inside = edges if edges[-1] < len(values) else edges[:-1]
            sums[mine] = np.add.reduceat(values, inside, dtype=np.int64)[::2]
        return sums

    def _window_view(self, length: int) -> npt.NDArray[Any]:
        if length not in self._views:
            self._views[length] = np.lib.stride_tricks.sliding_window_view(self.arrays[0], length)
        return self._views[length]


def split_at(edges: Ints, firsts: Ints, ends: Ints) -> tuple[Ints, Ints, Ints]:
    """Ranges [first, end) cut at ``edges``: the stretch, first and end of each part that is not empty, in order.

    >>> [part.tolist() for part in split_at(np.array([0, 3, 5]), np.array([2]), np.array([5]))]
    [[0, 1], [2, 3], [3, 5]]
    """
    first = np.searchsorted(edges, firsts, side="right") - 1
    parts = np.maximum(np.searchsorted(edges, ends, side="left") - first, 0)
    stretch = np.repeat(first, parts) + concatenated_ranges(parts)
    begin = np.maximum(np.repeat(firsts, parts), edges[stretch])
    end = np.minimum(np.repeat(ends, parts), edges[stretch + 1])
    kept = begin < end
    return stretch[kept], begin[kept], end[kept]


def concatenated_ranges(lengths: Ints) -> Ints:
    """0 .. n - 1 for each n of ``lengths``, end to end.

    >>> concatenated_ranges(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def map_file(path: str) -> npt.NDArray[np.uint8]:
    """The bytes of a file, mapped read-only until nobody holds them.

    Python's own mmap keeps a file descriptor open for each file, of which a process often has 1,024: too few for a
    source of thousands of files. Raises DataError for a file that is missing or empty.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a file to read") from error
    try:
        size = os.fstat(descriptor).st_size
        if not size:
            raise DataError(f"{path}: empty; write the data again")
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == _FAILED:
        raise DataError(f"{path}: {os.strerror(ctypes.get_errno())}; it can't be mapped into memory")
    content = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(content, _libc.munmap, address, size).atexit = False
    return np.frombuffer(memoryview(content).toreadonly(), np.uint8)
