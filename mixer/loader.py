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
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, repeat
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .blocks import Blocks
from .errors import DataError
from .mixture import Located, Mixture
from .places import LOCATED_AT_ONCE, Bins, Places
from .reading import Reader, check_ids
from .rows import Source
from .steps import Step, Steps, check_layout, rank_samples, steps_from
from .windows import Allocate, Windows, fresh_bytes


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
    """Iterator of GlobalBatch from ``start_step`` on; close it, use it in a ``with``, or drop it: its threads end.

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
        producer = _Producer(
            mixture=mixture,
            reader=Reader(
                mixture.names,
                sources,
                sequence_length=mixture.history.sequence_length,
                blocks=Blocks(allocate=allocate),
                contiguous=contiguous,
                vocab_size=vocab_size,
                readers=readers,
            ),
            micro_batch_size=micro_batch_size,
            rank=data_parallel_rank,
            num_ranks=data_parallel_size,
        )
        self._ready: deque[GlobalBatch] = deque()
        self._results, self._room, self._closed = producer.results, producer.room, producer.stopped
        for _ in range(max(1, prefetch)):
            self._room.put(True)
        steps = steps_from(start_step, batch_sizes)
        self._stop = weakref.finalize(self, producer.stop)
        self._thread = threading.Thread(target=producer.run, args=(steps,), name="mixer-loader", daemon=True)
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

    @property
    def ready(self) -> bool:
        """Whether ``next`` finds a batch, the end or an error at once, and need not wait for the thread."""
        return bool(self._ready) or not self._results.empty()

    def close(self) -> None:
        """Stop the threads, once they have read what they are at, and drop what is ready; may be called twice."""
        self._stop()
        self._thread.join()
        self._ready.clear()
        self._results = SimpleQueue()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class _Producer:
    """What the background thread runs. It knows nothing of its Loader, so that one that is dropped does not live on."""

    mixture: Mixture
    reader: Reader
    micro_batch_size: int
    rank: int
    num_ranks: int
    results: SimpleQueue[list[GlobalBatch] | BaseException | None] = field(default_factory=SimpleQueue)
    room: SimpleQueue[bool] = field(default_factory=SimpleQueue)  # an item for each list of batches to read ahead
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End the thread once it has read what it is at. Waits for nothing: the collector may call it anywhere."""
        self.stopped.set()
        self.room.put(False)

    def run(self, steps: Iterator[Step]) -> None:
        try:
            for _ in map(self.results.put, self._batches(steps)):
                pass  # and no name here holds a batch while the next is read
            self.results.put(None)
        except BaseException as error:  # whatever it is, the training loop must see it
            self.results.put(error)
        finally:
            self.reader.close()

    def _batches(self, steps: Iterator[Step]) -> Iterator[list[GlobalBatch]]:
        """The steps in order: one, or several that are little work each."""
        for near in self._near(steps):
            places = Places.of(self.mixture, near)
            samples = [self._mine(step) + (step.first_sample - near[0].first_sample) for step in near]
            begin = 0
            while begin < len(near):
                if not self.room.get() or self.stopped.is_set():
                    return
                end = begin + max(1, self.reader.rows_at_once // samples[begin].size)
                yield self._assemble(near[begin:end], samples[begin:end], places.bins[begin:end], places)
                begin = end

    def _near(self, steps: Iterator[Step]) -> Iterator[list[Step]]:
        """Steps in lists that are located at once, each of which follows the one before."""
        near: list[Step] = []
        for step in steps:
            if near and not self._joins(step, near):
                yield near
                near = []
            near.append(step)
        if near:
            yield near

    def _joins(self, step: Step, near: list[Step]) -> bool:
        """Not where it would fail: the steps before it are delivered first."""
        readable = step.end <= self.mixture.num_samples and step.size % (self.micro_batch_size * self.num_ranks) == 0
        follows = step.first_sample == near[-1].end
        return readable and follows and step.end - near[0].first_sample <= LOCATED_AT_ONCE

    def _assemble(self, steps: list[Step], samples: list[Ints], bins: list[Bins], places: Places) -> list[GlobalBatch]:
        mine = np.concatenate(samples)
        micro_batches = self._micro_batches(places.located[mine.ravel()], places.bin_of[mine])
        return [
            GlobalBatch(step.number, step.first_sample, step.size, list(islice(micro_batches, len(own))), *of_step)
            for step, own, of_step in zip(steps, samples, bins, strict=True)
        ]

    def _micro_batches(self, located: Located, bins: Ints) -> Iterator[Batch]:
        """Read as they are asked for, as many at once as stay in the cache; ``bins`` are (micro-batches, size)."""
        size = self.micro_batch_size
        at_once = max(1, self.reader.rows_at_once // size)
        for first in range(0, len(bins), at_once):
            end = min(first + at_once, len(bins))
            part = located[first * size : end * size]
            yield from _micro_batches(self.reader.read(part), part, bins[first:end])

    def _mine(self, step: Step) -> Ints:
        layout = {"micro_batch_size": self.micro_batch_size, "rank": self.rank, "num_ranks": self.num_ranks}
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
        yield from _micro_batches(read, located, zeros[None])


def check_sources(mixture: Mixture, sources: Mapping[str, Source]) -> None:
    """Raise DataError where an open source is not the one whose rows the history numbers."""
    for name, source in sources.items():
        known = mixture.history.sources.get(name)
        if known is None:
            raise DataError(f"source {name} is not in the history; sources are {', '.join(mixture.names)}")
        opened, expected = source.generations()[-1], known.generations[-1]
        for what in ("fingerprint", "num_rows", "holdout", "window"):
            ours, theirs = getattr(expected, what), getattr(opened, what)
            if ours != theirs:
                raise DataError(f"source {name}: {what} is {theirs}, but the run reads {ours}; the data has changed")


def _micro_batches(read: Windows, located: Located, bins: Ints) -> list[Batch]:
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
