"""How many draws each source has given before any sample: the spans of a run laid end to end, in closed form.

    spans   [0, 6) web 2 : code 1        [6, 12) web 1 : code 1          skip (8, 10)
    sample  0    1    2    3    4    5    6    7    8    9    10   11
    draw    w0   c0   w1   w2   c1   w3   c2   w4   c4   w6   c5   w7     (c3 and w5 were to be samples 8 and 9)

A span begins where the one before left each source (its *cursor*), so nothing is repeated or left out where weights
change. A skip moves the cursors over the draws that the skipped samples would have read, and nothing else: the shares,
the phases and the clock stay where they were.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from .apportion import Apportionment, Ints
from .errors import DataError


@dataclass(frozen=True)
class Span:
    """Samples [start_sample, end_sample) drawn with constant weights, per sample; sources not named have weight 0.

    ``continues`` marks what an edit made of a phase that was already running: the phase began with an earlier span.
    """

    start_sample: int
    end_sample: int
    weights: Mapping[str, float]
    continues: bool = False

    @property
    def positive(self) -> dict[str, float]:
        """The weights that are not 0, in order of name, so that the order of a recipe's sources changes nothing."""
        return {name: self.weights[name] for name in sorted(self.weights) if self.weights[name] > 0}


@dataclass(frozen=True)
class Skip:
    """Samples [start, end) put out of bounds: what they would have read is passed over, and reading goes on after it.

    ``draws`` is what each source passes over at ``start``; None until a History has worked it out.
    """

    start: int
    end: int
    draws: Mapping[str, int] | None = None


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Samples from ``start_sample`` to the next stretch: one apportionment from ``origin``, one base a source."""

    start_sample: int
    end_sample: int
    origin: int
    apportionment: Apportionment
    sources: Ints  # (drawn,) index into names of the apportionment's sources
    bases: Ints  # (names,) draw = base + arrival

    def counts(self, sample: int) -> Ints:
        counts = self.bases.copy()
        counts[self.sources] += self.apportionment.counts(sample - self.origin)
        return counts

    def locate(self, samples: Ints) -> tuple[Ints, Ints]:
        local, arrivals = self.apportionment.locate(samples - self.origin)
        sources = self.sources[local]
        return sources, self.bases[sources] + arrivals


@dataclass(frozen=True, eq=False)
class Cursors:
    """Cursors of all sources over a run, built once; answers cost the same at any sample.

    >>> cursors = Cursors.of(["web", "code"], [Span(0, 6, {"web": 2, "code": 1})])
    >>> cursors.counts(3).tolist()
    [2, 1]
    """

    stretches: tuple[_Stretch, ...]
    starts: Ints = field(init=False)  # (stretches,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", np.array([stretch.start_sample for stretch in self.stretches], np.int64))

    @classmethod
    def of(cls, names: Sequence[str], spans: Sequence[Span], skips: Sequence[Skip] = ()) -> "Cursors":
        """Lay out ``spans`` (adjacent, from sample 0) and resolved ``skips`` (in order of start)."""
        index = {name: k for k, name in enumerate(names)}
        bases = np.zeros(len(names), np.int64)
        stretches: list[_Stretch] = []
        for span in join(spans):
            inside = [skip for skip in skips if span.start_sample <= skip.start < span.end_sample]
            stretches += _stretches(span, inside, index, bases)
            bases = stretches[-1].counts(span.end_sample)
        return cls(tuple(stretches))

    @property
    def num_samples(self) -> int:
        """Length of the run."""
        return self.stretches[-1].end_sample

    def counts(self, sample: int) -> Ints:
        """Draw number at which each source stands before ``sample``, from 0 to num_samples; skipped draws count."""
        self._check(sample, sample)
        return self._stretch_at(sample).counts(sample)

    def locate(self, samples: Ints) -> tuple[Ints, Ints]:
        """Source index and draw number of each sample, in any order."""
        sources, draws = np.zeros(samples.shape, np.int64), np.zeros(samples.shape, np.int64)
        if samples.size:
            self._check(int(samples.min()), int(samples.max()) + 1)
        which = np.searchsorted(self.starts, samples, side="right") - 1
        for k in np.unique(which):
            here = which == k
            sources[here], draws[here] = self.stretches[k].locate(samples[here])
        return sources, draws

    def ranges(self, sample: int) -> Iterator[tuple[Ints, Ints]]:
        """The draws read before ``sample``, as (first, end) per source and stretch; skipped draws lie between."""
        self._check(sample, sample)
        for stretch in self.stretches:
            if stretch.start_sample < sample:
                yield stretch.counts(stretch.start_sample), stretch.counts(min(sample, stretch.end_sample))

    def _stretch_at(self, sample: int) -> _Stretch:
        return self.stretches[int(np.searchsorted(self.starts, sample, side="right")) - 1]

    def _check(self, first: int, end: int) -> None:
        if not 0 <= first <= end <= self.num_samples:
            raise DataError(f"samples {first:,} to {end:,} lie outside the run, which has {self.num_samples:,}")


def join(spans: Sequence[Span]) -> list[Span]:
    """Adjacent spans of equal weights as one, so that a cut that changes nothing is no restart."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].positive == span.positive:
            joined[-1] = replace(joined[-1], end_sample=span.end_sample)
        else:
            joined.append(span)
    return joined


def resolve(names: Sequence[str], spans: Sequence[Span], skips: Sequence[Skip]) -> tuple[Skip, ...]:
    """Skips in order of start, each with the draws of [start, end) as the run stood without it."""
    resolved: list[Skip] = []
    for skip in sorted(skips, key=lambda skip: skip.start):
        if skip.draws is None:
            before = Cursors.of(names, spans, resolved)
            passed = before.counts(skip.end) - before.counts(skip.start)
            draws = {name: count for name, count in zip(names, passed.tolist(), strict=True) if count}
            resolved.append(replace(skip, draws=draws))
        else:
            resolved.append(skip)
    return tuple(resolved)


def _stretches(span: Span, skips: Sequence[Skip], index: Mapping[str, int], bases: Ints) -> list[_Stretch]:
    """One span cut at its skips: the apportionment runs through, the bases move."""
    weights = span.positive
    apportionment = Apportionment.of(list(weights.values()))
    sources = np.array([index[name] for name in weights], np.int64)
    edges = [span.start_sample, *(skip.start for skip in skips), span.end_sample]
    moves = [{}, *(skip.draws or {} for skip in skips)]
    stretches = []
    for (start, end), move in zip(pairwise(edges), moves, strict=True):
        bases = bases.copy()
        for name, draws in move.items():
            bases[index[name]] += draws
        stretches.append(_Stretch(start, end, span.start_sample, apportionment, sources, bases))
    return stretches
