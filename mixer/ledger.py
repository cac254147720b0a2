"""What each source has given by any sample: computed from the plan of reading, so there is nothing to keep or lose."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .apportion import Ints
from .cursors import join
from .mixture import Mixture
from .rows import Source

_CHUNK_ROWS = 2**16  # rows of an open epoch looked up at a time


@dataclass(frozen=True)
class Entry:
    """One source's account."""

    samples: int
    tokens: int  # window positions, padding among them
    epochs: float  # passes over the rows, of all generations
    supervised_tokens: int | None  # None where the source is not open
    padding: int | None


@dataclass(frozen=True, eq=False)
class Ledger:
    """The account of a run, at any sample of it.

    Whole epochs of packed rows cost one sum, the open epoch O(rows); everything else is closed form.
    """

    mixture: Mixture
    sources: Mapping[str, Source]

    def at(self, sample: int) -> dict[str, Entry]:
        """Entry of each source for the samples before ``sample``; draws that a skip passed over are not among them."""
        firsts, ends = zip(*self.mixture.cursors.ranges(sample), strict=True) if sample else ((), ())
        return {
            name: self._entry(k, [(int(a[k]), int(b[k])) for a, b in zip(firsts, ends, strict=True) if b[k] > a[k]])
            for k, name in enumerate(self.mixture.names)
        }

    def exposure(self, sample: int, integral: Callable[[int, int], float]) -> dict[str, float]:
        """Learning-rate-weighted tokens of each source before ``sample``: sum over spans of share x integral over it.

        ``integral(start_tokens, end_tokens)`` is the integral of the learning rate over those tokens.
        """
        exposure = dict.fromkeys(self.mixture.names, 0.0)
        for span in join(self.mixture.history.spans):
            first, end = min(span.start_sample, sample), min(span.end_sample, sample)
            area = integral(first * self._row_tokens, end * self._row_tokens)
            for name, weight in span.positive.items():
                exposure[name] += weight / sum(span.positive.values()) * area
        return exposure

    @property
    def _row_tokens(self) -> int:
        return self.mixture.history.sequence_length

    def _entry(self, k: int, ranges: list[tuple[int, int]]) -> Entry:
        source = self.sources.get(self.mixture.names[k])
        samples = sum(end - first for first, end in ranges)
        tokens = samples * self._row_tokens
        supervised = filled = None
        if source:
            supervised = self._total(k, ranges, source.row_supervised)
            filled = self._total(k, ranges, source.row_filled)
        return Entry(
            samples=samples,
            tokens=tokens,
            epochs=sum(self._epochs(k, first, end) for first, end in ranges),
            supervised_tokens=supervised,
            padding=None if filled is None else tokens - filled,
        )

    def _epochs(self, k: int, first: int, end: int) -> float:
        """Passes over the rows in draws [first, end)."""
        generations = self.mixture.history.sources[self.mixture.names[k]].generations
        edges = [*(generation.first_draw for generation in generations[1:]), max(end, generations[-1].first_draw)]
        return sum(
            max(0, min(end, edge) - max(first, generation.first_draw)) / generation.num_rows
            for generation, edge in zip(generations, edges, strict=True)
        )

    def _total(self, k: int, ranges: list[tuple[int, int]], values: Ints | None) -> int:
        """Sum over draws of their row's value; of a whole row where values is None."""
        if values is None:
            return sum(end - first for first, end in ranges) * self._row_tokens
        return sum(self._before(k, end, values) - self._before(k, first, values) for first, end in ranges)

    def _before(self, k: int, draw: int, values: Ints) -> int:
        whole, _ = divmod(draw, len(values))
        open_epoch = _chunks(whole * len(values), draw)
        rows = (self.mixture.rows(np.full_like(draws, k), draws).row for draws in open_epoch)
        return whole * int(values.sum()) + sum(int(values[row].sum()) for row in rows)


def _chunks(first: int, end: int) -> Iterator[Ints]:
    for start in range(first, end, _CHUNK_ROWS):
        yield np.arange(start, min(end, start + _CHUNK_ROWS))
