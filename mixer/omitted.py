"""Draws that are passed over because their row is out of bounds, and the count of those that are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .apportion import Ints


@dataclass(frozen=True, eq=False)
class Omitted:
    """Draws of each source (by index) that no sample reads, sorted. A source's n-th *turn* is its n-th other draw.

    >>> omitted = Omitted({0: np.array([1, 2, 5])})
    >>> omitted.draws_of(np.zeros(4, np.int64), np.arange(4)).tolist()
    [0, 3, 4, 6]
    """

    draws: Mapping[int, Ints] = field(default_factory=dict)

    def draws_of(self, sources: Ints, turns: Ints) -> Ints:
        """Draw of each turn, source by source."""
        draws = turns
        for source, omitted in self.draws.items():
            shift = np.searchsorted(omitted - np.arange(omitted.size), turns, side="right")
            draws = np.where(sources == source, turns + shift, draws)
        return draws

    def cursors(self, turns: Ints) -> Ints:
        """Where sources (all of them) stand after so many turns: one past the last draw read, 0 before the first."""
        last = self.draws_of(np.arange(turns.size), np.maximum(turns - 1, 0))
        return np.where(turns > 0, last + 1, 0)

    def turns_before(self, source: int, draw: int) -> int:
        """How many draws below ``draw`` are not omitted."""
        return draw - self.between(source, 0, draw).size if source in self.draws else draw

    def between(self, source: int, first: int, end: int) -> Ints:
        """The omitted draws of a source in [first, end)."""
        omitted = self.draws.get(source, np.zeros(0, np.int64))
        low, high = np.searchsorted(omitted, [first, end])
        return omitted[low:high]
