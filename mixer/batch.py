"""What a training step of one rank reads: its micro-batches, and where each row comes from."""

import zlib
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .mixture import Located
from .windows import Windows


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch; arrays of the model are (micro_batch_size, S), the rest (micro_batch_size,).

    Rows of text share memory: tokens and labels are views of ``joined``, loss_mask and position_ids are read-only.
    """

    tokens: Ints
    labels: Ints
    loss_mask: npt.NDArray[np.float32]
    position_ids: Ints
    segments: npt.NDArray[np.int32] | None  # None where every row is one segment
    sources: Ints  # index into Mixture.names
    epochs: Ints
    rows: Ints
    bins: Ints  # index into GlobalBatch.bins
    joined: Ints | None = None  # (micro_batch_size, S + 1); None where tokens and labels are arrays of their own


@dataclass(frozen=True, eq=False)
class GlobalBatch:
    """One step of one rank: samples [first_sample, first_sample + size) of all ranks, and this rank's share of them."""

    step: int
    first_sample: int
    size: int
    micro_batches: list[Batch]
    bins: list[tuple[int, int]]  # (source, epoch) that occur in the whole global batch, the same on every rank
    bin_samples: list[int]  # samples of the whole global batch in each bin

    def digest(self) -> int:
        """Sum of the CRC-32 of each sample's tokens: added over ranks, it is the same at any layout."""
        return sum(zlib.crc32(row.data) for micro in self.micro_batches for row in micro.tokens)


def cut_micro_batches(read: Windows, located: Located, bins: Ints) -> list[Batch]:
    """Rows that were read, cut into micro-batches; ``bins`` are (micro-batches, their size)."""

    def cut(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return rows.reshape(*bins.shape, *rows.shape[1:])

    columns = (
        *(cut(rows) for rows in (read.tokens, read.labels, read.loss_mask, read.position_ids)),
        map(_several, cut(read.segments)) if read.segments.flags.writeable else repeat(None),  # no: of text
        *map(cut, (located.source, located.epoch, located.row)),
        bins,
        repeat(None) if read.joined is None else cut(read.joined),
    )
    return [Batch(*columns_of_one) for columns_of_one in zip(*columns, strict=False)]


def _several(segments: npt.NDArray[np.int32]) -> npt.NDArray[np.int32] | None:
    return segments if segments.any() else None
