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
class ReadRows:
    """Rows that were read together: the micro-batches of one step, or of several."""

    windows: Windows
    located: Located
    bins: Ints  # (micro-batches, micro_batch_size) index into GlobalBatch.bins


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch, a view of the rows it was read with, made anew each time an array is asked for.

    Arrays of the model are (micro_batch_size, S), the rest (micro_batch_size,). Rows of text share memory: tokens and
    labels are views of ``joined``, loss_mask and position_ids are read-only.
    """

    read: ReadRows
    number: int  # among the micro-batches that were read together

    @property
    def tokens(self) -> Ints:
        """Inputs of the model."""
        return self.read.windows.tokens[self._rows]

    @property
    def labels(self) -> Ints:
        """What is to be predicted: the token after each."""
        return self.read.windows.labels[self._rows]

    @property
    def loss_mask(self) -> npt.NDArray[np.float32]:
        """1 where the prediction counts, else 0."""
        return self.read.windows.loss_mask[self._rows]

    @property
    def position_ids(self) -> Ints:
        """Positions, from 0 in each segment."""
        return self.read.windows.position_ids[self._rows]

    @property
    def segments(self) -> npt.NDArray[np.int32] | None:
        """Number of each position's segment; None where every row is one segment."""
        segments = self.read.windows.segments[self._rows]
        return segments if segments.flags.writeable and segments.any() else None  # of text, nobody can write them

    @property
    def joined(self) -> Ints | None:
        """(micro_batch_size, S + 1) tokens and the last label; None where those are arrays of their own."""
        joined = self.read.windows.joined
        return None if joined is None else joined[self._rows]

    @property
    def sources(self) -> Ints:
        """Index into Mixture.names."""
        return self.read.located.source[self._rows]

    @property
    def epochs(self) -> Ints:
        """Passes over the source's rows before this one."""
        return self.read.located.epoch[self._rows]

    @property
    def rows(self) -> Ints:
        """Rows of the source."""
        return self.read.located.row[self._rows]

    @property
    def bins(self) -> Ints:
        """Index into GlobalBatch.bins."""
        bins: Ints = self.read.bins[self.number]
        return bins

    @property
    def _rows(self) -> slice:
        size = self.read.bins.shape[1]
        return slice(self.number * size, (self.number + 1) * size)


@dataclass(frozen=True, eq=False)
class GlobalBatch:
    """One step of one rank: samples [first_sample, first_sample + size) of all ranks, and this rank's share of them."""

    step: int
    first_sample: int
    size: int
    bins: list[tuple[int, int]]  # (source, epoch) that occur in the whole global batch, the same on every rank
    bin_samples: list[int]  # samples of the whole global batch in each bin
    reads: list[ReadRows]  # all that this step has rows in, of as many micro-batches each, but for the last
    numbers: range  # of this step's micro-batches, counted through those reads

    @cached_property
    def micro_batches(self) -> list[Batch]:
        """In the order in which they are trained on."""
        return [Batch(self.reads[k], m) for k, m in (divmod(m, len(self.reads[0].bins)) for m in self.numbers)]

    def digest(self) -> int:
        """Sum of the CRC-32 of each sample's tokens: added over ranks, it is the same at any layout."""
        return sum(zlib.crc32(row.data) for micro in self.micro_batches for row in micro.tokens)
