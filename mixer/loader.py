"""Micro-batches for one data-parallel rank, assembled a global batch at a time by a background thread.

    with Loader(mixture, sources, micro_batch_size=2, data_parallel_rank=0, data_parallel_size=4,
                batch_sizes=[(0, 16), (16, 16), (32, 24)]) as loader:
        for batch in loader:                  # one training step
            for micro in batch.micro_batches: # micro.tokens is (2, S)
                ...

Micro-batch m of a rank holds samples first + m * mbs * dp + rank * mbs + [0, mbs), which is Megatron's convention: each
global batch is a contiguous range of samples, the same set at any layout. Every rank locates all samples of the batch,
reads its own, and so knows which sources and epochs the whole batch draws on (``bins``).
"""

import queue
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .errors import DataError
from .mixture import Located, Mixture
from .rows import Source, Windows


class Steps(Protocol):
    """The steps of a run, as ``schedulers`` lays them out."""

    @property
    def num_steps(self) -> int:
        """Steps in the run."""

    def first_sample(self, step: int) -> int:
        """First sample of a step."""

    def batch_size(self, step: int) -> int:
        """Samples of a step."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch; arrays of the model are (micro_batch_size, S), the rest (micro_batch_size,)."""

    tokens: Ints
    labels: Ints
    loss_mask: npt.NDArray[np.float32]
    position_ids: Ints
    segments: npt.NDArray[np.int32] | None  # None where every row is one segment
    sources: Ints  # index into Mixture.names
    epochs: Ints
    rows: Ints
    bins: Ints  # index into GlobalBatch.bins


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
        return sum(zlib.crc32(row.tobytes()) for micro in self.micro_batches for row in micro.tokens)


class Loader:
    """Iterator of GlobalBatch from ``start_step`` on, ``prefetch`` of them ahead; close it, or use it in a ``with``.

    ``batch_sizes`` is the run's steps, or (first sample, global batch size) of each step from ``start_step`` on. Raises
    DataError when built if a source is not the one that the history knows; and when it comes to it for a batch that
    micro-batches do not divide, and for data that can't be read.
    """

    def __init__(
        self,
        mixture: Mixture,
        sources: Mapping[str, Source],
        *,
        micro_batch_size: int,
        data_parallel_rank: int,
        data_parallel_size: int,
        batch_sizes: Steps | Iterable[tuple[int, int]],
        start_step: int = 0,
        prefetch: int = 2,
        vocab_size: int | None = None,
    ) -> None:
        check_sources(mixture, sources)
        self._mixture, self._sources, self._vocab_size = mixture, sources, vocab_size
        self._micro_batch_size, self._rank, self._ranks = micro_batch_size, data_parallel_rank, data_parallel_size
        self._queue: queue.Queue[GlobalBatch | BaseException | None] = queue.Queue(maxsize=max(1, prefetch))
        self._closed = threading.Event()
        steps = _steps(batch_sizes, start_step)
        self._thread = threading.Thread(target=self._produce, args=(steps,), name="mixer-loader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[GlobalBatch]:
        return self

    def __next__(self) -> GlobalBatch:
        if self._closed.is_set():
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, GlobalBatch):
            return item
        self.close()
        raise StopIteration if item is None else item

    def close(self) -> None:
        """Stop the thread and drop what it had ready; may be called twice."""
        self._closed.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(timeout=0.01)
        self._drain()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    def _produce(self, steps: Iterator[tuple[int, int, int]]) -> None:
        try:
            for step, first_sample, size in steps:
                self._put(self._assemble(step, first_sample, size))
                if self._closed.is_set():
                    return
            self._put(None)
        except BaseException as error:  # whatever it is, the training loop must see it
            self._put(error)

    def _put(self, item: GlobalBatch | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def _assemble(self, step: int, first_sample: int, size: int) -> GlobalBatch:
        located = self._mixture.locate(np.arange(first_sample, first_sample + size))
        bins, bin_of = _bins(located)
        mine = rank_samples(size, micro_batch_size=self._micro_batch_size, rank=self._rank, num_ranks=self._ranks)
        read = self._read(located[mine.ravel()])
        micro_batches = [
            _micro_batch(read, slice(at, at + self._micro_batch_size), located[samples], bin_of[samples])
            for at, samples in zip(range(0, mine.size, self._micro_batch_size), mine, strict=True)
        ]
        bin_samples = np.bincount(bin_of, minlength=len(bins)).tolist()
        return GlobalBatch(step, first_sample, size, micro_batches, bins, bin_samples)

    def _read(self, located: Located) -> Windows:
        out = Windows.empty(len(located), self._mixture.history.sequence_length)
        for k in np.unique(located.source):
            at = np.flatnonzero(located.source == k)
            self._source(self._mixture.names[k]).fill(located.row[at], out, at)
        check_ids(out, lambda row: self._mixture.names[located.source[row]], self._vocab_size)
        return out

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            raise DataError(f"source {name} is drawn but not open; give its path in the recipe")
        return self._sources[name]


def rank_samples(size: int, *, micro_batch_size: int, rank: int, num_ranks: int) -> Ints:
    """Samples of one rank, counted from the first of the global batch: (micro-batches, micro_batch_size).

    >>> rank_samples(8, micro_batch_size=2, rank=1, num_ranks=2).tolist()
    [[2, 3], [6, 7]]
    """
    together = micro_batch_size * num_ranks
    if size % together:
        got = f"{micro_batch_size} a micro-batch on {num_ranks} ranks"
        raise DataError(f"global batch of {size} samples: {got} do not divide it; make it a multiple of {together}")
    return np.arange(size).reshape(-1, num_ranks, micro_batch_size)[:, rank]


def validation_batches(
    source: Source,
    *,
    micro_batch_size: int,
    data_parallel_rank: int,
    data_parallel_size: int,
    max_rows: int | None = None,
    vocab_size: int | None = None,
) -> Iterator[Batch]:
    """This rank's micro-batches of a source's first ``max_rows`` held-out rows, equally many on every rank.

    Where the rows do not fill the last micro-batches, row 0 stands in with a loss mask of 0.
    """
    num_rows = min(source.num_validation_rows, source.num_validation_rows if max_rows is None else max_rows)
    rank, num_ranks = data_parallel_rank, data_parallel_size
    size = -(-num_rows // (micro_batch_size * num_ranks)) * micro_batch_size * num_ranks
    for samples in rank_samples(size, micro_batch_size=micro_batch_size, rank=rank, num_ranks=num_ranks):
        rows = np.where(samples < num_rows, samples, 0)
        read = Windows.empty(len(rows), source.sequence_length)
        source.fill(rows, read, np.arange(len(rows)), validation=True)
        check_ids(read, lambda row: source.name, vocab_size)
        read.loss_mask[samples >= num_rows] = 0
        zeros = np.zeros(len(rows), np.int64)
        located = Located(source=zeros, draw=samples, generation=zeros, epoch=zeros, row=rows)
        yield _micro_batch(read, slice(None), located, zeros)


def check_ids(read: Windows, name_of_row: Callable[[int], str], vocab_size: int | None) -> None:
    """Raise DataError where a token has no place in the vocabulary; without a ``vocab_size`` nothing is checked."""
    if vocab_size is None or max(read.tokens.max(), read.labels.max()) < vocab_size:
        return
    largest = np.maximum(read.tokens, read.labels).max(axis=1)
    row = int(largest.argmax())
    raise DataError(
        f"source {name_of_row(row)}: token id {largest[row]:,}, but the model's vocabulary ends at {vocab_size - 1:,}; "
        "name the tokenizer that the data was written with"
    )


def check_sources(mixture: Mixture, sources: Mapping[str, Source]) -> None:
    """Raise DataError where an open source is not the one whose rows the history numbers."""
    for name, source in sources.items():
        known = mixture.history.sources.get(name)
        if known is None:
            raise DataError(f"source {name} is not in the history; sources are {', '.join(mixture.names)}")
        opened, expected = source.generation(), known.generations[-1]
        for field in ("fingerprint", "num_rows", "holdout", "window"):
            ours, theirs = getattr(expected, field), getattr(opened, field)
            if ours != theirs:
                raise DataError(f"source {name}: {field} is {theirs}, but the run reads {ours}; the data has changed")


def _steps(batch_sizes: Steps | Iterable[tuple[int, int]], start_step: int) -> Iterator[tuple[int, int, int]]:
    """(step, first sample, size) from ``start_step`` on."""
    if isinstance(batch_sizes, Iterable):
        return ((step, first_sample, size) for step, (first_sample, size) in enumerate(batch_sizes, start_step))
    steps = range(start_step, batch_sizes.num_steps)
    return ((step, batch_sizes.first_sample(step), batch_sizes.batch_size(step)) for step in steps)


def _bins(located: Located) -> tuple[list[tuple[int, int]], Ints]:
    """Sorted (source, epoch) pairs that occur, and the index of each sample's pair."""
    pairs, which = np.unique(np.stack([located.source, located.epoch], axis=1), axis=0, return_inverse=True)
    return [(source, epoch) for source, epoch in pairs.tolist()], which.reshape(-1)


def _micro_batch(read: Windows, which: slice, located: Located, bins: Ints) -> Batch:
    segments = read.segments[which]
    return Batch(
        tokens=read.tokens[which],
        labels=read.labels[which],
        loss_mask=read.loss_mask[which],
        position_ids=read.position_ids[which],
        segments=segments if segments.any() else None,
        sources=located.source,
        epochs=located.epoch,
        rows=located.row,
        bins=bins,
    )
