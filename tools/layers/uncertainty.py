"""How sure a mean over tokens is: bootstrap over documents, whose tokens depend on one another, within each source.

How many tokens of each source are read is chosen, not found. So a draw takes the documents of a source out of that
source alone, and is weighted to hold as many tokens of it as were read: what lies between sources is no uncertainty.
Of n documents n - 1 are drawn, which makes up for deviations being taken from the documents' own mean (Rao and Wu,
1988).

An interval is a pair of percentiles of the draws, at levels from Student's t in the place of the normal's (the expanded
percentile interval, arXiv 1411.5279), with the degrees of freedom of the sources, each by its part of the variance
(Satterthwaite, 1946). A bootstrap can't leave the range of its documents, so that with few of them no level would do:
there is no interval of anything with tokens of a source of fewer than FEWEST_DOCUMENTS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .student import normal_cdf, student_quantiles

Array = npt.NDArray[np.float64]
LEVEL = 0.95
FEWEST_DOCUMENTS = 8  # where documents are counted in groups, groups


@dataclass(frozen=True, eq=False)
class Means:
    """Means over tokens, or what is linear in them.

    ``value`` (...) is of all documents, ``draws`` (draws, ...) of each draw; ``shifts`` (groups, ...) is by how much
    each document group moves the value, to first order.
    """

    value: Array
    draws: Array
    shifts: Array

    def map(self, linear: Callable[[Array], Array]) -> "Means":
        """What a linear function of (rows, ...) makes of them."""
        return Means(linear(self.value[None])[0], linear(self.draws), linear(self.shifts))

    @staticmethod
    def stack(means: "Sequence[Means]") -> "Means":
        """Several of one bootstrap along a new axis before the others."""
        value = np.stack([m.value for m in means])
        return Means(value, np.stack([m.draws for m in means], 1), np.stack([m.shifts for m in means], 1))


@dataclass(frozen=True, eq=False)
class Spread:
    """How far means deviate: the standard deviation, its degrees of freedom, and how much of it the draws lack.

    Where not ``known``, there are too few documents to say.
    """

    deviation: Array
    degrees: Array
    stretch: Array
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Draws of document groups, the same for all that is compared.

    ``weights`` (draws, groups) is how often a group is drawn, scaled so that each draw has as many tokens of each
    source as were read; ``tokens`` (groups,); ``members`` (sources, groups) is 1 where a group with tokens is of a
    source.
    """

    weights: Array
    tokens: Array
    members: Array

    @classmethod
    def of(cls, tokens: Array, sources: npt.NDArray[np.int64], *, draws: int = 1000, seed: int = 0) -> "Bootstrap":
        """Of groups with so many tokens, (groups,), and the number of each one's source; those without are never drawn.

        >>> Bootstrap.of(np.array([2.0, 2, 6, 0]), np.array([0, 0, 1, 1]), draws=2).weights.sum(1).tolist()
        [3.0, 3.0]
        """
        rng = np.random.default_rng(seed)
        filled = tokens > 0
        members = (sources == np.unique(sources[filled])[:, None]) & filled
        weights = np.zeros((draws, len(tokens)))
        for member in members:
            own = tokens[member]
            drawn = _times_drawn(rng, draws, len(own))
            weights[:, member] = drawn * (own.sum() / (drawn @ own))[:, None]
        return cls(weights, tokens, members.astype(float))

    def means(self, sums: Array, counts: Array) -> Means:
        """Out of sums and counts (groups, ...); nan where there is no token."""
        value = ratio(sums.sum(0), counts.sum(0))
        draws = ratio(np.tensordot(self.weights, sums, 1), np.tensordot(self.weights, counts, 1))
        return Means(value, draws, ratio(self._within(sums - value * counts), counts.sum(0)))

    def _within(self, sums: Array) -> Array:
        """Sums (groups, ...) less what a group of its length has in its source."""
        rates = self._by_source(sums) / _column(self.members @ self.tokens, sums)
        return sums - _column(self.tokens, sums) * np.tensordot(self.members, rates, (0, 0))

    def _by_source(self, values: npt.NDArray[Any]) -> Array:
        return np.asarray(np.tensordot(self.members, values, 1))

    def interval(self, means: Means, counts: Array | None = None, level: float = LEVEL) -> tuple[Array, Array]:
        """Low and high end of the interval of each mean by itself; nan where too few documents tell.

        ``counts`` (groups, ...) are the tokens that the means are over, where not all groups have such.
        """
        spread = self.spread(means, counts)
        tail = normal_cdf(student_quantiles((1 - level) / 2, spread.degrees) * spread.stretch)
        low, high = (np.where(spread.known, quantiles(means.draws, p), np.nan) for p in (tail, 1 - tail))
        return low, high

    def joint_interval(self, means: Means, level: float = LEVEL) -> tuple[Array, Array]:
        """Intervals of k means (k,) over all tokens that hold all together, not each by itself.

        They are as many deviations wide, to both sides, as the mean that strays farthest in a draw strays in ``level``
        of the draws, in deviations found from that draw: with few documents a deviation is itself uncertain, and the
        one of many that comes out smallest makes its mean stray (bootstrap-t of the maximum, Romano and Wolf, 2005).
        """
        spread = self.spread(means)
        strays = spread.known & (spread.deviation > _ROUNDING * np.nanmax(np.abs(means.value), initial=0))
        drawn, found = self._drawn_squares(means), (means.shifts**2).sum(0)
        deviations = spread.deviation * np.sqrt(ratio(drawn, found))
        tells = strays & (drawn > _NO_DEVIATION * found)
        farthest = ratio(np.abs(means.draws - means.value), np.where(tells, deviations, 0), otherwise=0.0).max(1)
        width = np.where(spread.known, np.quantile(farthest, level) * spread.deviation, np.nan)
        return means.value - width, means.value + width

    def _drawn_squares(self, means: Means) -> Array:
        """(draws, k): the squares of what the documents of each draw move means by, about the draw's own mean."""
        total = np.zeros_like(means.draws)
        for member in self.members.astype(bool):
            weights, shifts = self.weights[:, member], means.shifts[member]
            total += weights @ shifts**2 - (weights @ shifts) ** 2 / len(shifts)
        return np.maximum(total, 0)

    def spread(self, means: Means, counts: Array | None = None) -> Spread:
        """Of the squares of what documents move means by, source by source."""
        read = np.broadcast_to(_column(self.tokens, means.shifts) if counts is None else counts, means.shifts.shape)
        documents, having = _column(self.members.sum(1), read), self._by_source(read > 0)
        squares = self._by_source(means.shifts**2)
        parts = squares / self._left_in_squares(read)
        variance, drawn = parts.sum(0), (squares * documents / np.maximum(documents - 1, 1)).sum(0)
        degrees = ratio(variance**2, (parts**2 / np.maximum(having - 1, 1)).sum(0))
        varies = variance > (_ROUNDING * np.abs(means.value)) ** 2
        degrees = np.where(varies, np.floor(degrees + _ROUNDING), np.maximum(having - 1, 0).sum(0))
        enough = ((documents >= FEWEST_DOCUMENTS) | (having == 0)).all(0) & (degrees >= FEWEST_DOCUMENTS - 1)
        stretch = np.where(varies, np.sqrt(ratio(variance, drawn)), 1)
        return Spread(np.sqrt(variance), np.where(enough, degrees, 1), stretch, enough)

    def _left_in_squares(self, read: Array) -> Array:
        """Which part of a source's variance the squares show: a document is in the mean that it is compared with.

        1 - 1/n for n documents of one length. In general 1 - 2 sum(h^3) / sum(h^2) + sum(h^2), h their shares of the
        source's tokens, for documents that differ by the same whatever their length. Never below that of two.
        """
        shares = ratio(read, np.tensordot(self.members, self._by_source(read), (0, 0)), otherwise=0.0)
        squares, cubes = self._by_source(shares**2), self._by_source(shares**3)
        return np.maximum(1 - 2 * ratio(cubes, squares, otherwise=0.0) + squares, 0.5)


_ROUNDING = 1e-9
_NO_DEVIATION = 1e-3  # of the squares: none of the few documents in which two layers differ is in the draw


def _times_drawn(rng: np.random.Generator, draws: int, n: int) -> npt.NDArray[np.int64]:
    """(draws, n): how often each of n is among n - 1 drawn with replacement; 1 where it is alone."""
    picked = rng.integers(0, n, (draws, max(n - 1, 1))) + n * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n)


def _column(values: Array, like: Array) -> Array:
    """(n,) as (n, 1, ...) with as many axes as ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def ratio(sums: Array, counts: Array, otherwise: float = np.nan) -> Array:
    """sums / counts, ``otherwise`` where there are none."""
    nothing: Array = np.full(np.broadcast(sums, counts).shape, otherwise)
    return np.divide(sums, counts, out=nothing, where=counts > 0)


def quantiles(draws: Array, p: Array) -> Array:
    """(draws, ...) and p (...) -> (...): each column's own quantile, nan left out.

    >>> quantiles(np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 6.0]]), np.array([0.25, 0.5])).tolist()
    [1.5, 5.5]
    """
    ordered = np.sort(draws, 0)
    place = p * np.maximum((~np.isnan(draws)).sum(0) - 1, 0)
    below = np.floor(place).astype(int)
    above = np.ceil(place).astype(int)
    low, high = (np.take_along_axis(ordered, at[None], 0)[0] for at in (below, above))
    return np.asarray(low + (high - low) * (place - below))
