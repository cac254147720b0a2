"""Rows as the model reads them, in arrays that a loader makes and sources write into.

tokens and labels of text are two views of one array, ``joined``:

    joined   t0 t1 t2 t3 t4        (rows, S + 1)
    tokens   t0 t1 t2 t3           joined[:, :-1]
    labels      t1 t2 t3 t4        joined[:, 1:]
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints

PADDING = -1  # segment number of positions that hold no token

Bytes = npt.NDArray[np.uint8]
Allocate = Callable[[int], Bytes]  # so many bytes, with any content


def fresh_bytes(num_bytes: int) -> Bytes:
    """Memory of its own.

    >>> fresh_bytes(3).shape
    (3,)
    """
    return np.empty(num_bytes, np.uint8)


@dataclass(frozen=True, eq=False)
class Windows:
    """Rows as the model reads them, each array (rows, sequence_length); a source writes tokens and labels with ``put``.

    Made by ``text``, or by ``empty`` where rows may be padded or hold several segments.
    """

    tokens: Ints
    labels: Ints
    loss_mask: npt.NDArray[np.float32]
    position_ids: Ints
    segments: npt.NDArray[np.int32]  # 0, 1, 2, ... along a row, PADDING after the last
    joined: Ints | None = None  # (rows, sequence_length + 1), where tokens and labels are views of it
    _put: list[tuple[int, int]] = field(default_factory=list)  # rows of each ``put``, and the largest id in them

    @classmethod
    def text(
        cls, num_rows: int, sequence_length: int, *, contiguous: bool = False, allocate: Allocate = fresh_bytes
    ) -> "Windows":
        """Rows of one segment, all supervised. Tokens and labels are still to be written; segments are read-only.

        So are loss_mask and position_ids, shared by all rows, unless ``contiguous`` asks for arrays that share nothing.

        >>> rows = Windows.text(1, 3)
        >>> rows.put(np.array([0]), np.array([[5, 6, 7, 8]]))
        >>> rows.tokens.tolist(), rows.labels.tolist(), rows.position_ids.tolist()
        ([[5, 6, 7]], [[6, 7, 8]], [[0, 1, 2]])
        """
        shape = num_rows, sequence_length
        loss_mask, position_ids, segments = text_masks(*shape)
        if not contiguous:
            (joined,) = _carve(allocate, (num_rows, sequence_length + 1), np.int64)
            return cls(joined[:, :-1], joined[:, 1:], loss_mask, position_ids, segments, joined)
        tokens, labels, positions, supervised = _carve(allocate, shape, np.int64, np.int64, np.int64, np.float32)
        positions[:], supervised[:] = position_ids, loss_mask
        return cls(tokens, labels, supervised, positions, segments)

    @classmethod
    def empty(cls, num_rows: int, sequence_length: int, *, allocate: Allocate = fresh_bytes) -> "Windows":
        """Rows of any kind: tokens and labels are still to be written, and the rest is as it is for text."""
        shape = num_rows, sequence_length
        arrays = _carve(allocate, shape, np.int64, np.int64, np.int64, np.float32, np.int32)
        tokens, labels, position_ids, loss_mask, segments = arrays
        loss_mask[:], position_ids[:], segments[:] = text_masks(*shape)
        return cls(tokens, labels, loss_mask, position_ids, segments)

    def put(self, at: Ints, windows: npt.NDArray[Any]) -> None:
        """Write S + 1 tokens of any integer type into each of the rows ``at``: all but the last, all but the first.

        Each row is put once. The largest id is noted here, where tokens are narrow and in the cache.
        """
        self._put.append((len(windows), _largest(windows)))
        if self.joined is not None:
            self.joined[at] = windows
        else:
            self.tokens[at], self.labels[at] = windows[:, :-1], windows[:, 1:]

    def largest_id(self) -> int:
        """Largest token id of all rows; a negative one counts as larger than any that is not.

        >>> rows = Windows.text(2, 3)
        >>> rows.put(np.array([1, 0]), np.array([[5, 6, 7, 8], [1, 2, 3, 4]], np.uint16))
        >>> rows.largest_id()
        8
        """
        if sum(rows for rows, _ in self._put) == len(self.tokens):
            return max(largest for _, largest in self._put)
        return max(_largest(self.tokens), _largest(self.labels))


@lru_cache(maxsize=64)
def text_masks(num_rows: int, sequence_length: int) -> tuple[npt.NDArray[np.float32], Ints, npt.NDArray[np.int32]]:
    """loss_mask, position_ids and segments of rows of text, each (num_rows, sequence_length): made once, read-only.

    >>> [array.tolist() for array in text_masks(1, 3)]
    [[[1.0, 1.0, 1.0]], [[0, 1, 2]], [[0, 0, 0]]]
    """
    shape = num_rows, sequence_length
    loss_mask = np.broadcast_to(np.float32(1), shape)
    position_ids = np.broadcast_to(np.arange(sequence_length), shape)
    return loss_mask, position_ids, np.broadcast_to(np.int32(0), shape)


def _largest(tokens: npt.NDArray[Any]) -> int:
    if tokens.dtype.kind == "i":
        tokens = tokens.view(f"u{tokens.itemsize}")
    return int(tokens.max(initial=0))


def _carve(allocate: Allocate, shape: tuple[int, int], *dtypes: type[np.generic]) -> list[npt.NDArray[Any]]:
    """Arrays of one shape, side by side in one piece of memory; wider types come first, so that each is aligned."""
    offsets = _offsets(shape[0] * shape[1], dtypes)
    memory = allocate(offsets[-1])
    return [np.ndarray(shape, dtype, memory, offset) for dtype, offset in zip(dtypes, offsets, strict=False)]


@lru_cache(maxsize=64)
def _offsets(size: int, dtypes: tuple[type[np.generic], ...]) -> list[int]:
    """First byte of each of these arrays of ``size`` numbers, and at last the bytes of all."""
    return [0, *accumulate(size * np.dtype(dtype).itemsize for dtype in dtypes)]
