"""What a training step of one rank reads: its micro-batches, and where each row comes from."""

import zlib
from dataclasses import dataclass
from functools import cached_property

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
class ReadRows:
    """Rows that were read together, the micro-batches of one step or of several."""

    windows: Windows
    located: Located
    bins: Ints  # (micro-batches, micro_batch_size)

    def micro_batch(self, number: int) -> Batch:
        """One of them, as views of the rows."""
        bins = self.bins[number]
        rows = slice(number * len(bins), (number + 1) * len(bins))
        read, located = self.windows, self.located
        return Batch(
            tokens=read.tokens[rows],
            labels=read.labels[rows],
            loss_mask=read.loss_mask[rows],
            position_ids=read.position_ids[rows],
            segments=_several(read.segments[rows]),
            sources=located.source[rows],
            epochs=located.epoch[rows],
            rows=located.row[rows],
            bins=bins,
            joined=None if read.joined is None else read.joined[rows],
        )


@dataclass(frozen=True, eq=False)
class GlobalBatch:
    """One step of one rank: samples [first_sample, first_sample + size) of all ranks, and this rank's share of them."""

    step: int
    first_sample: int
    size: int
    bins: list[tuple[int, int]]  # (source, epoch) that occur in the whole global batch, the same on every rank
    bin_samples: list[int]  # samples of the whole global batch in each bin
    reads: list[ReadRows]  # of as many micro-batches each, but for the last
    numbers: range  # of this step's micro-batches, counted through all reads

    @cached_property
    def micro_batches(self) -> list[Batch]:
        """Cut when they are asked for: the thread that reads has its hands full."""
        return [self.reads[k].micro_batch(m) for k, m in (divmod(m, len(self.reads[0].bins)) for m in self.numbers)]

    def digest(self) -> int:
        """Sum of the CRC-32 of each sample's tokens: added over ranks, it is the same at any layout."""
        return sum(zlib.crc32(row.data) for micro in self.micro_batches for row in micro.tokens)


def _several(segments: npt.NDArray[np.int32]) -> npt.NDArray[np.int32] | None:
    """None where every row is one segment; rows of text have segments that nobody can write."""
    return segments if segments.flags.writeable and segments.any() else None
