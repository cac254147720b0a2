"""How sure a mean over tokens is: bootstrap over documents, whose tokens depend on one another.

Intervals are percentiles of the bootstrap, widened for few documents (the expanded percentile interval, arXiv
1411.5279): levels from Student's t in the place of the normal's, and deviations stretched by sqrt(n / (n - 1)), n being
the document groups that have such tokens. A bootstrap can't leave the range of its documents, so that below
FEWEST_GROUPS no level would make up for it: there is no interval then.
"""

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LEVEL = 0.95
FEWEST_GROUPS = 8


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

    def interval(self, means: Array, counts: Array | None = None, level: float = LEVEL) -> tuple[Array, Array]:
        """Low and high end of the interval, of means (draws, ...); nan with fewer groups than FEWEST_GROUPS.

        ``counts`` (groups, ...) are the tokens that the means are over, where not all groups have such.
        """
        groups = self.groups if counts is None else (counts > 0).sum(0)
        sizes = np.broadcast_to(groups, means.shape[1:])
        low, high = np.full(sizes.shape, np.nan), np.full(sizes.shape, np.nan)
        for size in np.unique(sizes[sizes >= FEWEST_GROUPS]).tolist():
            here, tail = sizes == size, expanded_tail((1 - level) / 2, size)
            drawn = means[:, here]
            quantile = np.nanquantile if np.isnan(drawn).any() else np.quantile  # the first takes columns one by one
            low[here], high[here] = quantile(drawn, [tail, 1 - tail], axis=0)
        return low, high


def ratio(sums: Array, counts: Array) -> Array:
    """sums / counts, nan where there are none."""
    nothing: Array = np.full(np.broadcast(sums, counts).shape, np.nan)
    return np.divide(sums, counts, out=nothing, where=counts > 0)


def expanded_tail(tail: float, n: int) -> float:
    """Which quantile of the bootstrap stands for ``tail`` with n groups; ``tail`` itself for many.

    >>> round(expanded_tail(0.025, 10), 4), round(expanded_tail(0.025, 1000), 4)
    (0.0086, 0.0248)
    """
    return NormalDist().cdf(student_quantile(tail, n - 1) * math.sqrt(n / (n - 1)))


@cache
def student_quantile(p: float, degrees: int) -> float:
    """Student's t by bisection of its distribution.

    >>> [round(student_quantile(0.975, degrees), 3) for degrees in (1, 2, 5, 100)]
    [12.706, 4.303, 2.571, 1.984]
    """
    low, high = -1e4, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < p else (low, middle)
    return (low + high) / 2


def student_cdf(t: float, degrees: int) -> float:
    """Student's distribution by its finite series in the angle of t, which whole degrees of freedom have.

    >>> round(student_cdf(1.0, 1), 6), round(student_cdf(0.0, 8), 6)
    (0.75, 0.5)
    """
    angle = math.atan2(t, math.sqrt(degrees))
    square, odd = math.cos(angle) ** 2, degrees % 2
    term, series = (math.cos(angle) if odd else 1.0), 0.0
    for step in range(1 + odd, degrees, 2):
        series += term
        term *= square * step / (step + 1)
    inside = 2 * (angle + math.sin(angle) * series) / math.pi if odd else math.sin(angle) * series
    return (1 + inside) / 2


def chance_in_lowest(means: Array, k: int) -> Array:
    """(draws, layers) -> (layers,): in which share of draws a layer is among the k of the lowest means.

    Layers that are equal share the places that are left.

    >>> chance_in_lowest(np.array([[0.1, 0.3, 0.2], [0.1, 0.2, 0.3]]), 2).tolist()
    [1.0, 0.5, 0.5]
    >>> chance_in_lowest(np.zeros((1, 4)), 1).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    lower = (means[:, None, :] < means[:, :, None]).sum(2)
    tied = (means[:, None, :] == means[:, :, None]).sum(2)
    return np.asarray(np.clip((k - lower) / np.maximum(tied, 1), 0, 1).mean(0))


def rank_ranges(bootstrap: Bootstrap, means: Array) -> list[tuple[int, int]]:
    """Lowest and highest rank of each layer that the data allows, from 1 for the lowest mean; a tie is a range.

    A layer ranks after those that are lower than it in the interval of the paired difference. Each pair is told at the
    level of an interval; of very many pairs some are told wrongly.
    """
    low, high = bootstrap.interval(means[:, :, None] - means[:, None, :])
    after, before = (low > 0).sum(1), (high < 0).sum(1)
    return [(int(a) + 1, means.shape[1] - int(b)) for a, b in zip(after, before, strict=True)]
