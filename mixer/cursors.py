"""How many draws each source has given before any sample: the spans of a run laid end to end, in closed form.

    spans   [0, 6) web 2 : code 1        [6, 12) web 1 : code 1          skip (8, 10)
    sample  0    1    2    3    4    5    6    7    8    9    10   11
    draw    w0   c0   w1   w2   c1   w3   c2   w4   c4   w6   c5   w7     (c3 and w5 were to be samples 8 and 9)

A span begins where the one before left each source (its *cursor*), so nothing is repeated or left out where weights
change. A skip moves the cursors over the draws that the skipped samples would have read, and nothing else: the shares,
the phases and the clock stay where they were. A span is cut where a source reaches its cap, and draws of documents that
are out of bounds are left out when draws are numbered.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .apportion import Floats, Ints
from .errors import DataError
from .layout import Layout, Stretch
from .omitted import Omitted
from .spans import Skip, Span, join


@dataclass(frozen=True, eq=False)
class Cursors:
    """Cursors of all sources over a run, built once; answers cost the same at any sample.

    >>> cursors = Cursors.of(["web", "code"], [Span(0, 6, {"web": 2, "code": 1})])
    >>> cursors.counts(3).tolist(), cursors.sample_at(0, draw=2)
    ([2, 1], 3)
    """

    stretches: tuple[Stretch, ...]
    omitted: Omitted = field(default_factory=Omitted)

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        spans: Sequence[Span],
        skips: Sequence[Skip] = (),
        stages: Sequence[tuple[int, Omitted]] = (),
    ) -> "Cursors":
        """Lay out ``spans`` (adjacent, from sample 0) and resolved ``skips`` (in order of start).

        ``stages``, in order, say from which sample on which draws are left out, those of earlier stages included.
        Raises DataError where a source reaches its cap and no other can take its share.
        """
        layout = Layout({name: k for k, name in enumerate(names)}, skips, stages)
        turns = np.zeros(len(names), np.int64)
        stretches: list[Stretch] = []
        for span in join(spans):
            stretches += layout.stretches(span, turns)
            turns = stretches[-1].turns(span.end_sample)
        return cls(tuple(stretches), stages[-1][1] if stages else Omitted())

    @property
    def num_samples(self) -> int:
        """Length of the run."""
        return self.stretches[-1].end_sample

    def counts(self, sample: int) -> Ints:
        """Draw number at which each source stands before ``sample``, from 0 to num_samples; skipped draws count."""
        return self.omitted.cursors(self.turns(sample))

    def turns(self, sample: int) -> Ints:
        """The same, with draws of documents that are out of bounds left out of the numbers."""
        self._check(sample, sample)
        return self.stretches[self._stretch_at(sample)].turns(sample)

    def next_draw(self, source: int, sample: int) -> int:
        """The draw that a source reads next from ``sample`` on: its cursor, past draws that are left out there."""
        turn = self.turns(sample)[source : source + 1]
        return int(self.omitted.draws_of(np.array([source]), turn)[0])

    def reads(self, sample: int) -> Ints:
        """Samples of each source before ``sample``, from 0 to num_samples; skipped draws are not among them."""
        self._check(sample, sample)
        last = self._stretch_at(sample)
        whole = self._last_turns[:last] - self._first_turns[:last]
        reads: Ints = whole.sum(axis=0) + self.stretches[last].turns(sample) - self._first_turns[last]
        return reads

    def locate(self, samples: Ints) -> tuple[Ints, Ints]:
        """Source index and draw number of each sample, in any order."""
        if not samples.size:
            return np.zeros(samples.shape, np.int64), np.zeros(samples.shape, np.int64)
        low, high = int(samples.min()), int(samples.max())
        self._check(low, high + 1)
        first, last = self._stretch_at(low), self._stretch_at(high)
        if first == last:
            sources, turns = self.stretches[first].locate(samples)
        else:
            sources, turns = self._locate_across(samples)
        return sources, self.omitted.draws_of(sources, turns)

    def sample_at(self, source: int, draw: int) -> int | None:
        """Sample that reads a draw, the inverse of ``locate``; None if it is skipped or beyond the run."""
        if draw < 0 or self.omitted.between(source, draw, draw + 1).size:
            return None
        turn = self.omitted.turns_before(source, draw)
        found = self._next_turn(source, turn)
        return self.stretches[found[0]].sample_of(source, turn) if found and found[1] == turn else None

    def first_sample_from(self, source: int, draw: int) -> int | None:
        """First sample that reads that draw of a source or a later one; None if the run never gets there."""
        found = self._next_turn(source, self.omitted.turns_before(source, max(draw, 0)))
        return self.stretches[found[0]].sample_of(source, found[1]) if found else None

    def read_by(self, source: int) -> int:
        """First sample before which all is read that the run reads of a source; 0 if it reads nothing."""
        stretches = np.flatnonzero(self._last_turns[:, source] > self._first_turns[:, source])
        if not stretches.size:
            return 0
        last = int(stretches[-1])
        return self.stretches[last].sample_of(source, int(self._last_turns[last, source]) - 1) + 1

    def shares_before(self, sample: int) -> Floats:
        """(names,) Shares in force at the end of [0, sample), caps applied, for samples from 1 on."""
        self._check(1, sample)
        return self.stretches[self._stretch_at(sample - 1)].shares_at(sample)

    def bounds(self, sample: int) -> Floats:
        """(names,) No count before a sample up to this one is further from the shares asked, in samples.

        Each apportionment adds its own, and once more where it begins inside its ramp.
        """
        self._check(sample, sample)
        bounds = np.zeros(self.stretches[0].bases.shape)
        for before, stretch in zip((None, *self.stretches), self.stretches, strict=False):
            if stretch.begins_a_mixture(before) and stretch.start_sample < sample:
                edges = 1 if stretch.start_sample == stretch.origin else 2
                bounds[stretch.sources] += edges * stretch.apportionment.bounds
        return bounds

    def ranges(self, sample: int) -> Iterator[tuple[Ints, Ints]]:
        """The draws given before ``sample``, as (first, end) per source and stretch.

        Draws that a skip of samples passed over lie between; those of skipped documents lie inside.
        """
        self._check(sample, sample)
        for k, stretch in enumerate(self.stretches):
            if stretch.start_sample < sample:
                ends = stretch.turns(sample) if sample < stretch.end_sample else self._last_turns[k]
                yield self.omitted.cursors(self._first_turns[k]), self.omitted.cursors(ends)

    def _locate_across(self, samples: Ints) -> tuple[Ints, Ints]:
        sources, turns = np.zeros(samples.shape, np.int64), np.zeros(samples.shape, np.int64)
        which = np.searchsorted(self._starts, samples, side="right") - 1
        for k in np.unique(which):
            here = which == k
            sources[here], turns[here] = self.stretches[k].locate(samples[here])
        return sources, turns

    def _next_turn(self, source: int, turn: int) -> tuple[int, int] | None:
        """Stretch and number of the source's first turn from ``turn`` on that a sample reads."""
        turns = np.maximum(self._first_turns[:, source], turn)
        stretches = np.flatnonzero(turns < self._last_turns[:, source])
        return (int(stretches[0]), int(turns[stretches[0]])) if stretches.size else None

    def _stretch_at(self, sample: int) -> int:
        return int(np.searchsorted(self._starts, sample, side="right")) - 1

    @cached_property
    def _starts(self) -> Ints:
        return np.array([stretch.start_sample for stretch in self.stretches], np.int64)

    @cached_property
    def _first_turns(self) -> Ints:
        """(stretches, names) Turns where each stretch begins."""
        return np.array([stretch.turns(stretch.start_sample) for stretch in self.stretches])

    @cached_property
    def _last_turns(self) -> Ints:
        """(stretches, names) Turns where each stretch ends."""
        return np.array([stretch.turns(stretch.end_sample) for stretch in self.stretches])

    def _check(self, first: int, end: int) -> None:
        if not 0 <= first <= end <= self.num_samples:
            raise DataError(f"samples {first:,} to {end:,} lie outside the run, which has {self.num_samples:,}")


def resolve(skip: Skip, names: Sequence[str], before: Callable[[], Cursors]) -> Skip:
    """The skip with what [start, end) would have read, as the run stands ``before`` it."""
    if skip.draws is not None:
        return skip
    cursors = before()
    passed = cursors.turns(skip.end) - cursors.turns(skip.start)
    return replace(skip, draws={name: n for name, n in zip(names, passed.tolist(), strict=True) if n})
