"""Micro-batches for one data-parallel rank, assembled whole global batches at a time by background threads.

    with Loader(mixture, sources, micro_batch_size=2, data_parallel_rank=0, data_parallel_size=4,
                batch_sizes=[(0, 16), (16, 16), (32, 24)]) as loader:
        for batch in loader:                  # one training step
            for micro in batch.micro_batches: # micro.tokens is (2, S)
                ...

Micro-batch m of a rank holds samples first + m * mbs * dp + rank * mbs + [0, mbs), which is Megatron's convention: each
global batch is a contiguous range of samples, the same set at any layout. Every rank locates all samples of the batch,
reads its own, and so knows which sources and epochs the whole batch draws on (``bins``).
"""

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue

import numpy as np

from .batch import Batch, GlobalBatch, ReadRows
from .blocks import Blocks
from .errors import DataError
from .mixture import Located, Mixture
from .producer import Handed, Producer
from .reading import Reader, check_ids
from .rows import Source
from .steps import Steps, check_layout, rank_samples, steps_from
from .windows import Allocate, Windows, fresh_bytes

_THREADS = 2  # that read a piece each: one leaves half of a warm page cache's speed unused


class Loader:
    """Iterator of GlobalBatch from ``start_step`` on; close it, use it in a ``with``, or drop it: its threads end.

    Background threads read ahead: ``prefetch`` pieces, each a step, or several where steps are small. The memory of a
    batch is used again, but not before the consumer has dropped the batch, its arrays and every tensor that shares it.

    ``batch_sizes`` is the run's steps, or (first sample, global batch size) of each step from ``start_step`` on.
    ``contiguous`` makes tokens, labels, loss_mask and position_ids arrays that nothing else shares. ``allocate`` gives
    the memory (pinned memory, say), and ``readers`` is how many threads read while storage is slow, for the two that
    read always.

    Raises DataError when built if a source is not the one that the history knows, or there is no such rank; and when it
    comes to it for a batch that micro-batches do not divide, and for data that can't be read. Closing waits for reads
    that have begun.
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
        reader = Reader(
            mixture.names,
            sources,
            sequence_length=mixture.history.sequence_length,
            blocks=Blocks(allocate=allocate),
            contiguous=contiguous,
            vocab_size=vocab_size,
            readers=readers,
        )
        producer = Producer(
            mixture,
            reader,
            steps_from(start_step, batch_sizes),
            micro_batch_size=micro_batch_size,
            rank=data_parallel_rank,
            num_ranks=data_parallel_size,
            pieces_ahead=max(1, prefetch),
        )
        self._ready: deque[GlobalBatch | BaseException | None] = deque()
        self._results, self._room, self._closed = producer.results, producer.room, producer.stopped
        self._taken = 0
        self._stop = weakref.finalize(self, producer.stop)
        self._threads = producer.start(min(_THREADS, len(self._results)))

    def __iter__(self) -> Iterator[GlobalBatch]:
        return self

    def __next__(self) -> GlobalBatch:
        if not self._ready and not self._closed.is_set():
            self._ready.extend(self._next.get())
            self._taken += 1
            self._room.put(True)
        if self._closed.is_set():  # perhaps by another thread, while this one waited
            self._ready.clear()
        try:
            item = self._ready.popleft()
        except IndexError:
            raise StopIteration from None
        if isinstance(item, GlobalBatch):
            return item
        self._stop()
        try:
            raise StopIteration if item is None else item
        finally:
            del item  # or the error would hold this frame, and the frame the error

    @property
    def ready(self) -> bool:
        """Whether ``next`` finds a batch, the end or an error at once, and need not wait for a thread."""
        return bool(self._ready) or not self._next.empty()

    def close(self) -> None:
        """Stop the threads, once they have read what they are at, and drop what is ready; may be called twice."""
        self._stop()
        for thread in self._threads:
            thread.join()
        self._ready.clear()
        for handed in self._results:
            with suppress(Empty):
                while True:
                    handed.get_nowait()
            handed.put([None])  # for a consumer that was about to wait

    @property
    def _next(self) -> SimpleQueue[Handed]:
        """Where the piece comes that follows those taken."""
        return self._results[self._taken % len(self._results)]

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


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

    Where the rows do not fill the last micro-batches, row 0 stands in with a loss mask of 0. Raises DataError where
    there is no such rank, or no row in a micro-batch.
    """
    check_layout(micro_batch_size=micro_batch_size, rank=data_parallel_rank, num_ranks=data_parallel_size)
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
        yield Batch(ReadRows(read, located, zeros[None]), 0)


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
