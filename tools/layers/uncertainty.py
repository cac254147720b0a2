"""How sure a mean over tokens is: bootstrap over documents, whose tokens depend on one another.

Intervals are percentiles of the bootstrap, widened for few documents so that they cover as often as they say
(the expanded percentile interval, arXiv 1411.5279): levels from Student's t in the place of the normal's, and
deviations stretched by sqrt(n / (n - 1)).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """How often each document group is drawn, (draws, groups); the same for all that is compared."""

    weights: Array

    @classmethod
    def of(cls, counts: Array, *, draws: int = 1000, seed: int = 0) -> "Bootstrap":
        """Draw as many groups as have tokens, with replacement; ``counts`` (groups,) tokens of each."""
        filled = np.flatnonzero(counts)
        weights = np.zeros((draws, len(counts)))
        if len(filled):
            drawn = np.random.default_rng(seed).multinomial(len(filled), [1 / len(filled)] * len(filled), draws)
            weights[:, filled] = drawn
        return cls(weights)

    @property
    def groups(self) -> int:
        """Groups that may be drawn."""
        return int((self.weights > 0).any(0).sum())

    def means(self, sums: Array, counts: Array) -> Array:
        """Mean of each draw: sums and counts (groups, ...) -> (draws, ...); nan where a draw has no token."""
        return ratio(self._drawn(sums), self._drawn(counts))

    def _drawn(self, values: Array) -> Array:
        flat = values.reshape(len(values), -1)
        drawn: Array = (self.weights @ flat).reshape(len(self.weights), *values.shape[1:])
        return drawn

    def interval(self, means: Array, level: float = LEVEL) -> tuple[Array, Array]:
        """Low and high end of the interval, of means (draws, ...); nan with fewer than two groups."""
        n = self.groups
        if n < 2 or np.isnan(means).all():
            nothing = np.full(means.shape[1:], np.nan)
            return nothing, nothing
        tail = expanded_tail((1 - level) / 2, n)
        low, high = np.nanquantile(means, [tail, 1 - tail], axis=0)
        return low, high


def ratio(sums: Array, counts: Array) -> Array:
    """sums / counts, nan where there are none."""
    nothing: Array = np.full(np.broadcast(sums, counts).shape, np.nan)
    return np.divide(sums, counts, out=nothing, where=counts > 0)


def expanded_tail(tail: float, n: int) -> float:
    """Which quantile of the bootstrap stands for ``tail`` with n groups; ``tail`` itself for many.

    >>> round(expanded_tail(0.025, 10), 4), round(expanded_tail(0.025, 10**9), 4)
    (0.0086, 0.025)
    """
    return NormalDist().cdf(student_quantile(tail, n - 1) * math.sqrt(n / (n - 1)))


def student_quantile(p: float, degrees: int) -> float:
    """Student's t, to a thousandth for 5 degrees of freedom and more (Cornish-Fisher, four terms).

    >>> round(student_quantile(0.975, 10), 3), round(student_quantile(0.975, 5), 3)
    (2.228, 2.57)
    """
    z, n = NormalDist().inv_cdf(p), degrees
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / n + second / n**2 + third / n**3 + fourth / n**4


def chance_in_lowest(means: Array, k: int) -> Array:
    """(draws, layers) -> (layers,): in which share of draws a layer is among the k of the lowest means.

    >>> chance_in_lowest(np.array([[0.1, 0.3, 0.2], [0.1, 0.2, 0.3]]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    places = means.argsort(1).argsort(1)
    return np.asarray((places < k).mean(0))


def rank_ranges(bootstrap: Bootstrap, means: Array) -> list[tuple[int, int]]:
    """Lowest and highest rank of each layer that the data allows, from 1 for the lowest mean; a tie is a range.

    A layer ranks after those that are lower than it in the interval of the paired difference.
    """
    low, high = bootstrap.interval(means[:, :, None] - means[:, None, :])
    after, before = (low > 0).sum(1), (high < 0).sum(1)
    return [(int(a) + 1, means.shape[1] - int(b)) for a, b in zip(after, before, strict=True)]
