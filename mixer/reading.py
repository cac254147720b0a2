"""Rows of many sources, read together into reused memory; by many threads for as long as storage is slow to answer.

A warm page cache gives a window in microseconds, and one thread reads fastest. A cold one takes milliseconds for each,
during which a thread only waits: then every read is shared among ``readers`` threads.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from .apportion import Ints
from .blocks import Blocks
from .errors import DataError
from .mixture import Located
from .rows import Source
from .windows import Windows

BYTES_AT_ONCE = 2**20  # of tokens: what a core's cache holds beside the other arrays
_SLOW_S = 0.002  # one fill; a warm one of BYTES_AT_ONCE takes a tenth of it


class Reader:
    """Reads what ``Mixture.locate`` found. Several threads may read a source at once. Close it at the end."""

    def __init__(
        self,
        names: tuple[str, ...],
        sources: Mapping[str, Source],
        *,
        sequence_length: int,
        blocks: Blocks,
        contiguous: bool = False,
        vocab_size: int | None = None,
        readers: int = 32,
    ) -> None:
        self._names, self._sources, self._blocks = names, sources, blocks
        self._sequence_length, self._contiguous, self._vocab_size = sequence_length, contiguous, vocab_size
        self._rows_at_once = rows_of(BYTES_AT_ONCE, sequence_length)
        self._readers, self._is_slow = readers, readers > 1
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="mixer-reader")

    def read(self, located: Located) -> Windows:
        """The rows of samples. Raises DataError for a source that is not open, or an id outside the vocabulary."""
        plain = all(self._source(k).plain for k in np.bincount(located.source).nonzero()[0].tolist())
        out = self._empty(len(located), plain=plain)
        self._fill(located, out)
        check_ids(out, lambda row: self._names[located.source[row]], self._vocab_size)
        return out

    def close(self) -> None:
        """Wait for what is being read, and leave the rest."""
        self._threads.shutdown(cancel_futures=True)

    def _empty(self, num_rows: int, *, plain: bool) -> Windows:
        take = self._blocks.take
        if plain:
            return Windows.text(num_rows, self._sequence_length, contiguous=self._contiguous, allocate=take)
        return Windows.empty(num_rows, self._sequence_length, allocate=take)

    def _fill(self, located: Located, out: Windows) -> None:
        def fill(part: Ints) -> float:
            began = time.perf_counter()
            source = self._source(located.source[part[0]])
            source.fill(located.row[part], out, part, offsets=located.offset[part])
            return time.perf_counter() - began

        at_once = -(-len(located) // self._readers) if self._is_slow else self._rows_at_once
        each = self._threads.map if self._is_slow else map
        seconds = max(each(fill, _parts(located.source, at_once)))
        self._is_slow = self._readers > 1 and seconds > _SLOW_S

    def _source(self, k: int) -> Source:
        name = self._names[k]
        if name not in self._sources:
            raise DataError(f"source {name} is drawn but not open; give its path in the recipe")
        return self._sources[name]


def rows_of(num_bytes: int, sequence_length: int) -> int:
    """Rows of S + 1 tokens that fill so many bytes, at least one.

    >>> rows_of(2**20, 4096)
    31
    """
    return max(1, num_bytes // (8 * (sequence_length + 1)))


def check_ids(read: Windows, name_of_row: Callable[[int], str], vocab_size: int | None) -> None:
    """Raise DataError where a token has no place in the vocabulary; without a ``vocab_size`` nothing is checked."""
    if vocab_size is None or read.largest_id() < vocab_size:
        return
    ids = np.concatenate([read.tokens, read.labels], axis=1)
    row, column = np.argwhere((ids < 0) | (ids >= vocab_size))[0]
    raise DataError(
        f"source {name_of_row(int(row))}: token id {ids[row, column]:,}, but the model's vocabulary ends at "
        f"{vocab_size - 1:,}; name the tokenizer that the data was written with"
    )


def _parts(source: Ints, at_once: int) -> Iterator[Ints]:
    """Places of each source's samples in order, at most so many at a time."""
    order = source.argsort(kind="stable")
    sorted_source = source[order]
    edges = (sorted_source[1:] != sorted_source[:-1]).nonzero()[0] + 1
    bounds = [0, *edges.tolist(), len(order)]
    for first, end in pairwise(bounds):
        for begin in range(first, end, at_once):
            yield order[begin : min(begin + at_once, end)]
