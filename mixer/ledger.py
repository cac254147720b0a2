"""What each source has given by any sample: computed from the plan of reading, so there is nothing to keep or lose."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .apportion import Apportionment, Floats, Ints
from .epochs import epochs_of
from .generations import Generation
from .layout import Stretch
from .mixture import Mixture
from .ramp import RampApportionment
from .rows import Source

Integral = Callable[[float, float], float]

_CHUNK_ROWS = 2**16  # rows of an open epoch looked up at a time
_PANELS, _NODES = 32, 16  # of the quadrature along a ramp
_REPETITION_SCALE = 15.387756  # R*_D as fitted in arXiv 2305.16264


@dataclass(frozen=True)
class Entry:
    """One source's account."""

    samples: int
    tokens: int  # window positions, padding among them
    epochs: float  # passes over the rows, of all generations: where the source stands
    effective_tokens: float  # what the tokens are worth, repeated as they were
    supervised_tokens: int | None  # None where the source is not open
    padding: int | None


def effective_tokens(tokens: float, unique_tokens: float) -> float:
    """What ``tokens`` are worth, of which only ``unique_tokens`` differ, in tokens that are all new.

    U + U R* (1 - exp(-R / R*)) with R = tokens / U - 1 repetitions and R* = 15.39 (Muennighoff et al., arXiv
    2305.16264); nothing is lost up to one epoch, and no number of repetitions is worth more than U (1 + R*).

    >>> round(effective_tokens(400, unique_tokens=100)), round(effective_tokens(1e9, unique_tokens=100))
    (373, 1639)
    """
    if tokens <= unique_tokens:
        return float(tokens)
    repetitions = tokens / unique_tokens - 1
    return unique_tokens * (1 - _REPETITION_SCALE * math.expm1(-repetitions / _REPETITION_SCALE))


@dataclass(frozen=True, eq=False)
class Ledger:
    """The account of a run, at any sample of it.

    Whole epochs of packed rows cost one sum, the open epoch O(rows); everything else is closed form.
    """

    mixture: Mixture
    sources: Mapping[str, Source]

    def at(self, sample: int) -> dict[str, Entry]:
        """Entry of each source for the samples before ``sample``.

        What skips passed over, of samples or of documents, is part of ``epochs``, and of none of the other numbers.
        ``effective_tokens`` takes as unique the rows of the largest generation begun, or what was read if that is less.
        """
        firsts, ends = zip(*self.mixture.cursors.ranges(sample), strict=True) if sample else ((), ())
        return {
            name: self._entry(k, n, [(int(a[k]), int(b[k])) for a, b in zip(firsts, ends, strict=True) if b[k] > a[k]])
            for k, (name, n) in enumerate(self.mixture.counts(sample).items())
        }

    def exposure(self, sample: int, integral: Integral) -> dict[str, float]:
        """Learning-rate-weighted tokens of each source before ``sample``: the integral of share x learning rate.

        ``integral(start_tokens, end_tokens)`` is the integral of the learning rate over those tokens. Shares are those
        asked for, caps applied. Constant shares are exact. Along a ramp the integral of s(t) lr(t), s the part of the
        way gone, is found by parts, s I - integral of s' I, with Gauss-Legendre nodes in 32 panels: within 1e-9 of
        itself where the learning rate is smooth along the ramp, and within about 1e-5 where it jumps.
        """
        exposure = np.zeros(len(self.mixture.names))
        for stretch in self.mixture.cursors.stretches:
            end = min(stretch.end_sample, sample)
            if stretch.start_sample < end:
                exposure[stretch.sources] += self._exposed(stretch, end, integral)
        return dict(zip(self.mixture.names, exposure.tolist(), strict=True))

    @property
    def _row_tokens(self) -> int:
        return self.mixture.history.sequence_length

    def _exposed(self, stretch: Stretch, end: int, integral: Integral) -> Floats:
        """(drawn,) Integral of share x learning rate over the stretch up to sample ``end``."""
        mixture, start = stretch.apportionment, stretch.start_sample
        area = integral(start * self._row_tokens, end * self._row_tokens)
        if isinstance(mixture, Apportionment):
            return mixture.weights * area
        gone = _ramp_area(mixture, start - stretch.origin, end - stretch.origin, self._from(stretch, integral))
        return mixture.start.weights * (area - gone) + mixture.end.weights * gone

    def _from(self, stretch: Stretch, integral: Integral) -> Callable[[float], float]:
        """Integral of the learning rate from the stretch's start to a position, in samples from its origin."""
        first = stretch.start_sample * self._row_tokens
        return lambda position: integral(first, (stretch.origin + position) * self._row_tokens)

    def _entry(self, k: int, draws: int, ranges: list[tuple[int, int]]) -> Entry:
        source = self.sources.get(self.mixture.names[k])
        omitted = np.concatenate(
            [np.zeros(0, np.int64), *(self.mixture.cursors.omitted.between(k, *r) for r in ranges)]
        )
        samples = sum(end - first for first, end in ranges) - omitted.size
        tokens = samples * self._row_tokens
        supervised = filled = None
        if source:
            supervised = self._total(k, ranges, omitted, source.row_supervised)
            filled = self._total(k, ranges, omitted, source.row_filled)
        return Entry(
            samples=samples,
            tokens=tokens,
            epochs=epochs_of(self.mixture.history.sources[self.mixture.names[k]], draws),
            effective_tokens=effective_tokens(tokens, self._unique_rows(k, ranges) * self._row_tokens),
            supervised_tokens=supervised,
            padding=None if filled is None else tokens - filled,
        )

    def _generations(self, k: int, first: int, end: int) -> Iterator[tuple[Generation, int, int]]:
        """Generations that draws [first, end) come from, each with its part of them."""
        generations = self.mixture.history.sources[self.mixture.names[k]].generations
        edges = [*(generation.first_draw for generation in generations), max(end, generations[-1].first_draw)]
        for generation, (begin, stop) in zip(generations, pairwise(edges), strict=True):
            if max(first, begin) < min(end, stop):
                yield generation, max(first, begin), min(end, stop)

    def _unique_rows(self, k: int, ranges: list[tuple[int, int]]) -> int:
        begun = [generation for first, end in ranges for generation, _, _ in self._generations(k, first, end)]
        return max((each.end_row if each.carries else each.num_rows for each in begun), default=0)

    def _total(self, k: int, ranges: list[tuple[int, int]], omitted: Ints, values: Ints | None) -> int:
        """Sum over draws that are read of their row's value; of a whole row where values is None."""
        if values is None:
            return (sum(end - first for first, end in ranges) - omitted.size) * self._row_tokens
        parts = [part for first, end in ranges for part in self._generations(k, first, end)]
        given = sum(self._sum(k, values, generation, first, end) for generation, first, end in parts)
        return given - self._looked_up(k, values, omitted)

    def _sum(self, k: int, values: Ints, generation: Generation, first: int, end: int) -> int:
        """Sum over draws [first, end) of one generation: whole epochs at once, the others row by row."""
        begin, num_rows = generation.first_draw, generation.num_rows
        whole_from = begin - (begin - first) // num_rows * num_rows
        whole_to = begin + (end - begin) // num_rows * num_rows
        if whole_from >= whole_to or generation.carries:
            return sum(self._looked_up(k, values, draws) for draws in _chunks(first, end))
        rows = values[generation.first_row : generation.end_row]
        whole = (whole_to - whole_from) // num_rows * int(rows.sum())
        open_epochs = [*_chunks(first, whole_from), *_chunks(whole_to, end)]
        return whole + sum(self._looked_up(k, values, draws) for draws in open_epochs)

    def _looked_up(self, k: int, values: Ints, draws: Ints) -> int:
        return int(values[self.mixture.rows(np.full_like(draws, k), draws).row].sum()) if draws.size else 0


def _ramp_area(ramp: RampApportionment, first: int, end: int, upto: Callable[[float], float]) -> float:
    """Integral of (part of the way gone) x (learning rate) over positions [first, end) of a ramp."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(first, end, _PANELS + 1)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    places = (middle[:, None] + half[:, None] * nodes).ravel()
    values = np.array([upto(place) for place in places.tolist()]) * ramp.slope_at(places)
    return float(ramp.part_at(end)) * upto(end) - math.fsum((values.reshape(-1, _NODES) @ weights * half).tolist())


def _chunks(first: int, end: int) -> Iterator[Ints]:
    for start in range(first, end, _CHUNK_ROWS):
        yield np.arange(start, min(end, start + _CHUNK_ROWS))
