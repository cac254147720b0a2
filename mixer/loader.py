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

import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .blocks import Blocks
from .errors import DataError
from .mixture import Located, Mixture
from .places import Places
from .reading import Reader, check_ids, rows_of
from .rows import Source
from .steps import Step, Steps, check_layout, rank_samples, steps_from
from .windows import Allocate, Windows, fresh_bytes

_BYTES_TOGETHER = 2**22  # of tokens; steps of less than that are read together
_MORE_BLOCKS = 4  # being read, at the consumer, the one before, and one for whoever is a little slower


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


class Loader:
    """Iterator of GlobalBatch from ``start_step`` on; close it, or use it in a ``with``.

    A background thread reads ahead: ``prefetch`` pieces of a step, or of several where steps are small. The memory of a
    batch is used again, but not before the consumer has dropped the batch, its arrays and every tensor that shares it.

    ``batch_sizes`` is the run's steps, or (first sample, global batch size) of each step from ``start_step`` on.
    ``contiguous`` makes tokens, labels, loss_mask and position_ids arrays that nothing else shares. ``allocate`` gives
    the memory (pinned memory, say), and ``readers`` is how many threads read while storage is slow.

    Raises DataError when built if a source is not the one that the history knows, or there is no such rank; and when it
    comes to it for a batch that micro-batches do not divide, and for data that can't be read.
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
        contiguous: bool = False,
        allocate: Allocate = fresh_bytes,
        readers: int = 32,
    ) -> None:
        check_sources(mixture, sources)
        check_layout(micro_batch_size=micro_batch_size, rank=data_parallel_rank, num_ranks=data_parallel_size)
        self._places = Places(mixture)
        self._micro_batch_size, self._rank, self._ranks = micro_batch_size, data_parallel_rank, data_parallel_size
        self._reader = Reader(
            mixture.names,
            sources,
            sequence_length=mixture.history.sequence_length,
            blocks=Blocks(limit=max(1, prefetch) + _MORE_BLOCKS, allocate=allocate),
            contiguous=contiguous,
            vocab_size=vocab_size,
            readers=readers,
        )
        bytes_together = _BYTES_TOGETHER // (4 if contiguous else 1)  # there is more to write than tokens
        self._rows_together = rows_of(bytes_together, mixture.history.sequence_length)
        self._ready: deque[GlobalBatch] = deque()
        self._results: SimpleQueue[list[GlobalBatch] | BaseException | None] = SimpleQueue()
        self._room: SimpleQueue[bool] = SimpleQueue()  # an item for each list of batches that may be read ahead
        for _ in range(max(1, prefetch)):
            self._room.put(True)
        self._closed = threading.Event()
        steps = steps_from(start_step, batch_sizes)
        self._thread = threading.Thread(target=self._produce, args=(steps,), name="mixer-loader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[GlobalBatch]:
        return self

    def __next__(self) -> GlobalBatch:
        if self._closed.is_set():
            raise StopIteration
        if not self._ready:
            item = self._results.get()
            if not isinstance(item, list):
                self.close()
                raise StopIteration if item is None else item
            self._ready.extend(item)
            self._room.put(True)
        return self._ready.popleft()

    def close(self) -> None:
        """Stop the threads, once they have read what they are at, and drop what is ready; may be called twice."""
        self._closed.set()
        self._room.put(False)
        self._thread.join()
        self._reader.close()
        self._ready.clear()
        self._results = SimpleQueue()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _produce(self, steps: Iterator[Step]) -> None:
        try:
            for together in self._read_together(steps):
                if not self._room.get() or self._closed.is_set():
                    break
                self._results.put(self._assemble(together))
            self._results.put(None)
        except BaseException as error:  # whatever it is, the training loop must see it
            self._results.put(error)

    def _read_together(self, steps: Iterator[Step]) -> Iterator[list[Step]]:
        """Steps in lists: one, or several that follow one another and that are little work each."""
        together: list[Step] = []
        for step in steps:
            if together and not self._joins(step, together):
                yield together
                together = []
            together.append(step)
        if together:
            yield together

    def _joins(self, step: Step, together: list[Step]) -> bool:
        """Not where it would fail: the steps before it are delivered first."""
        rows = (together[-1].end - together[0].first_sample) // self._ranks
        readable = step.end <= self._places.num_samples and step.size % (self._micro_batch_size * self._ranks) == 0
        return readable and step.first_sample == together[-1].end and rows < self._rows_together

    def _assemble(self, together: list[Step]) -> list[GlobalBatch]:
        first, end = together[0].first_sample, together[-1].end
        samples = [self._mine(step).ravel() + (step.first_sample - first) for step in together]
        located = self._places.of(first, end)[np.concatenate(samples)]
        read = self._reader.read(located)
        ends = accumulate(map(len, samples))
        return [self._global_batch(step, located, read, end) for step, end in zip(together, ends, strict=True)]

    def _global_batch(self, step: Step, located: Located, read: Windows, end: int) -> GlobalBatch:
        """A step whose rows of this rank are those before row ``end`` of what was read."""
        bins, bin_samples, bin_of = self._places.bins(step)
        of_micro_batches = bin_of[self._mine(step)]
        starts = range(end - of_micro_batches.size, end, self._micro_batch_size)
        micro_batches = [
            _micro_batch(read, located, slice(start, start + self._micro_batch_size), bins)
            for start, bins in zip(starts, of_micro_batches, strict=True)
        ]
        return GlobalBatch(step.number, step.first_sample, step.size, micro_batches, bins, bin_samples)

    def _mine(self, step: Step) -> Ints:
        layout = {"micro_batch_size": self._micro_batch_size, "rank": self._rank, "num_ranks": self._ranks}
        return rank_samples(step.size, **layout)


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
        located = Located(source=zeros, draw=samples, generation=zeros, epoch=zeros, row=rows, offset=zeros)
        yield _micro_batch(read, located, slice(None), zeros)


def check_sources(mixture: Mixture, sources: Mapping[str, Source]) -> None:
    """Raise DataError where an open source is not the one whose rows the history numbers."""
    for name, source in sources.items():
        known = mixture.history.sources.get(name)
        if known is None:
            raise DataError(f"source {name} is not in the history; sources are {', '.join(mixture.names)}")
        opened, expected = source.generations()[-1], known.generations[-1]
        for field in ("fingerprint", "num_rows", "holdout", "window"):
            ours, theirs = getattr(expected, field), getattr(opened, field)
            if ours != theirs:
                raise DataError(f"source {name}: {field} is {theirs}, but the run reads {ours}; the data has changed")


def _micro_batch(read: Windows, located: Located, rows: slice, bins: Ints) -> Batch:
    segments = read.segments[rows]
    return Batch(
        tokens=read.tokens[rows],
        labels=read.labels[rows],
        loss_mask=read.loss_mask[rows],
        position_ids=read.position_ids[rows],
        segments=segments if segments.flags.writeable and segments.any() else None,  # those of text are read-only
        sources=located.source[rows],
        epochs=located.epoch[rows],
        rows=located.row[rows],
        bins=bins,
        joined=None if read.joined is None else read.joined[rows],
    )
