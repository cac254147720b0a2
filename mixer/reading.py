"""Rows of many sources, read together into reused memory; by many threads for as long as storage is slow to answer.

A warm page cache gives a window in microseconds, and whoever asks for rows reads them fastest. A cold one takes
milliseconds for each, during which a thread only waits: then every read is shared among ``readers`` threads.
"""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from .apportion import Ints
from .blocks import Blocks
from .errors import DataError
from .mixture import Located
from .rows import Source
from .windows import Windows

_BYTES_AT_ONCE = 17 * 2**19  # of tokens, measured: fewer spend more on bookkeeping, more leave the cache
_BYTES_AT_ONCE_SLOWLY = 2**24
_ROWS_OF_A_READER = 4  # while storage is slow
_SLOW_ROW_S = 0.0005  # a warm row takes a hundredth of it


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
        self._row_bytes = 8 * (sequence_length + 1) * (2 if contiguous else 1)  # tokens alone, or labels besides
        self._readers, self._is_slow = readers, readers > 1
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="mixer-reader")

    @property
    def rows_at_once(self) -> int:
        """How many rows are best read together, at least one."""
        if self._is_slow:
            return max(1, min(_ROWS_OF_A_READER * self._readers, _BYTES_AT_ONCE_SLOWLY // self._row_bytes))
        return max(1, _BYTES_AT_ONCE // self._row_bytes)

    def read(self, located: Located) -> Windows:
        """The rows of samples. Raises DataError for a source that is not open, or an id outside the vocabulary."""
        parts = list(_parts(located.source, -(-len(located) // self._readers) if self._is_slow else len(located)))
        out = self._empty(len(located), plain=all(self._source(k).plain for k, _ in parts))
        self._fill(located, out, parts)
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

    def _fill(self, located: Located, out: Windows, parts: list[tuple[int, Ints]]) -> None:
        def fill(part: tuple[int, Ints]) -> float:
            began = time.perf_counter()
            k, at = part
            self._source(k).fill(located.row[at], out, at, offsets=located.offset[at])
            return (time.perf_counter() - began) / len(at)

        each = self._threads.map if self._is_slow else map
        seconds_a_row = list(each(fill, parts))
        self._is_slow = self._readers > 1 and max(seconds_a_row) > _SLOW_ROW_S < _mean_seconds(parts, seconds_a_row)

    def _source(self, k: int) -> Source:
        name = self._names[k]
        if name not in self._sources:
            raise DataError(f"source {name} is drawn but not open; give its path in the recipe")
        return self._sources[name]


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


def _mean_seconds(parts: Iterable[tuple[int, Ints]], seconds_a_row: Iterable[float]) -> float:
    """What a row takes on the mean, by the median part of its source: any thread may be held up for a moment."""
    rows, found = Counter[int](), defaultdict[int, list[float]](list)
    for (k, at), seconds in zip(parts, seconds_a_row, strict=True):
        rows[k] += len(at)
        found[k].append(seconds)
    return sum(rows[k] * statistics.median(of_source) for k, of_source in found.items()) / rows.total()


def _parts(source: Ints, at_once: int) -> Iterator[tuple[int, Ints]]:
    """Each source and the places of its samples, in order, at most so many at a time."""
    order = source.argsort(kind="stable")
    ordered = source[order]
    edges = (ordered[1:] != ordered[:-1]).nonzero()[0] + 1
    for first, end in pairwise([0, *edges.tolist(), len(order)]):
        k = int(ordered[first])
        for begin in range(first, end, at_once):
            yield k, order[begin : min(begin + at_once, end)]
