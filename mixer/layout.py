"""Spans cut into stretches of one apportionment each, at skips and where a source reaches its cap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .apportion import Apportionment, Floats, Ints
from .caps import redistributed
from .errors import DataError
from .omitted import Omitted
from .ramp import RampApportionment, Shape
from .spans import Skip, Span


@dataclass(frozen=True, eq=False)
class Stretch:
    """Samples from ``start_sample`` to the next stretch: one apportionment from ``origin``, one base a source."""

    start_sample: int
    end_sample: int
    origin: int
    apportionment: Apportionment | RampApportionment
    sources: Ints  # (drawn,) index into names of the apportionment's sources
    bases: Ints  # (names,) turn = base + arrival

    def turns(self, sample: int) -> Ints:
        """Turns of every source before ``sample``."""
        turns = self.bases.copy()
        turns[self.sources] += self.apportionment.counts(sample - self.origin)
        return turns

    def locate(self, samples: Ints) -> tuple[Ints, Ints]:
        """Source and turn of each sample."""
        local, arrivals = self.apportionment.locate(samples - self.origin)
        sources = self.sources[local]
        return sources, self.bases[sources] + arrivals

    def sample_of(self, source: int, turn: int) -> int:
        """Sample at which the source has that turn, which must lie in the stretch."""
        local = int(np.flatnonzero(self.sources == source)[0])
        return self.origin + self.apportionment.position(local, turn - int(self.bases[source]))

    def shares_at(self, sample: int) -> Floats:
        """(names,) Shares asked for at a sample, start_sample to end_sample."""
        mixture, shares = self.apportionment, np.zeros(self.bases.shape)
        if isinstance(mixture, Apportionment):
            shares[self.sources] = mixture.weights
        else:
            shares[self.sources] = mixture.shares_at(sample - self.origin)
        return shares

    def begins_a_mixture(self, before: "Stretch | None") -> bool:
        """Whether its apportionment is not that of the stretch before, going on with the same sources."""
        if before is None or (before.apportionment, before.origin) != (self.apportionment, self.origin):
            return True
        return not np.array_equal(before.sources, self.sources)


@dataclass(frozen=True, eq=False)
class Layout:
    """What spans are laid out with."""

    index: Mapping[str, int]
    skips: Sequence[Skip]
    stages: Sequence[tuple[int, Omitted]]  # from which sample on, and all that is left out from there

    def stretches(self, span: Span, turns: Ints) -> list[Stretch]:
        """One span from ``turns`` on, cut where a skip moves the turns and where a source reaches its cap."""
        laid: list[Stretch] = []
        at, exhausted, mixture = span.start_sample, None, None
        while at < span.end_sample:
            caps = self._turn_caps(span, at)
            turns = turns + self._passed_over(at)
            reached = frozenset(name for name, cap in caps.items() if turns[self.index[name]] >= cap)
            if mixture is None or reached != exhausted:
                exhausted, mixture = reached, self._mixture(span, at, reached)
            stretch = _stretch(at, self._next_change(at, span.end_sample), mixture, turns)
            stop = self._first_reached(stretch, {name: cap for name, cap in caps.items() if name not in reached})
            laid.append(replace(stretch, end_sample=stop))
            at, turns = stop, stretch.turns(stop)
        return laid

    def _turn_caps(self, span: Span, at: int) -> dict[str, int]:
        """Turns that each capped source may have, by what is left out at a sample: what comes later can't undo it."""
        omitted = next((known for start, known in reversed(self.stages) if start <= at), Omitted())
        return {name: omitted.turns_before(self.index[name], cap.draws) for name, cap in span.caps.items()}

    def _next_change(self, at: int, end: int) -> int:
        """Next sample at which a skip begins, or the end."""
        starts = [*(skip.start for skip in self.skips), *(start for start, _ in self.stages)]
        return min([start for start in starts if at < start < end], default=end)

    def _passed_over(self, at: int) -> Ints:
        moves = np.zeros(len(self.index), np.int64)
        for skip in self.skips:
            for name, count in (skip.draws or {}).items() if skip.start == at else ():
                moves[self.index[name]] += count
        return moves

    def _mixture(self, span: Span, at: int, exhausted: frozenset[str]) -> "_Mixture":
        """The span's apportionment without the exhausted sources; a ramp's goes on from its own start."""
        ramp = span.ramp
        ends = [span.weights, ramp.from_weights] if ramp else [span.weights]
        try:
            ends = [redistributed(end, span.caps, exhausted) for end in ends]
        except DataError as error:
            raise DataError(f"at sample {at:,}, {error}") from None
        names = sorted({name for end in ends for name, weight in end.items() if weight > 0})
        weights = [tuple(end.get(name, 0) for name in names) for end in ends]
        sources = np.array([self.index[name] for name in names], np.int64)
        if ramp is None:
            return _Mixture(_constant(weights[0]), at, sources)
        length = ramp.end_sample - ramp.start_sample
        return _Mixture(_ramp(weights[1], weights[0], length, ramp.shape), ramp.start_sample, sources)

    def _first_reached(self, stretch: Stretch, caps: Mapping[str, int]) -> int:
        """Where the first of the capped sources has had its last turn, or the stretch's end; none had it before.

        Halving tells which source it is, for turns of all sources at once cost no more than the search for one's.
        """
        first, end = stretch.start_sample, stretch.end_sample
        sources, limits = np.array([self.index[name] for name in caps], np.int64), np.array([*caps.values()], np.int64)
        reached = np.flatnonzero(stretch.turns(end)[sources] >= limits)
        while reached.size > 1:
            middle = (first + end) // 2
            by_then = np.flatnonzero(stretch.turns(middle)[sources] >= limits)
            first, end = (first, middle) if by_then.size else (middle, end)
            reached = by_then if by_then.size else reached
        return min([end, *(stretch.sample_of(int(sources[k]), int(limits[k]) - 1) + 1 for k in reached.tolist())])


@dataclass(frozen=True, eq=False)
class _Mixture:
    apportionment: Apportionment | RampApportionment
    origin: int
    sources: Ints


def _stretch(start: int, end: int, mixture: _Mixture, turns: Ints) -> Stretch:
    bases = turns.copy()
    bases[mixture.sources] -= mixture.apportionment.counts(start - mixture.origin)
    return Stretch(start, end, mixture.origin, mixture.apportionment, mixture.sources, bases)


@lru_cache(maxsize=64)
def _constant(weights: tuple[float, ...]) -> Apportionment:
    return Apportionment.of(weights)


@lru_cache(maxsize=64)
def _ramp(start: tuple[float, ...], end: tuple[float, ...], length: int, shape: Shape) -> RampApportionment:
    return RampApportionment.of(start, end, length=length, shape=shape)
