"""Curves that multiply and keep a pace of their own; three of them do not arrive at `end` but stop there.

>>> InverseSqrt(3.0).value(1.0, start=0.5, end=0.0)
0.25
"""

import math
from dataclasses import dataclass

from .curve import Scaling
from .elementary import Number, expm1, exponential, log1p, power, sqrt


@dataclass(frozen=True)
class Exponential(Scaling):
    """f(u) = ratio^u with ratio = end/start: equal factors in equal tokens, `end` at u = 1. Both values above 0.

    It is the decay of the WSD runs in arXiv 2503.12811.

    >>> Exponential(0.25).fall(0.5)
    0.5
    """

    ratio: float

    def fall(self, u: Number) -> Number:
        """ratio^u."""
        return exponential(self.ratio, u)

    def area(self, u: Number) -> Number:
        """(ratio^u - 1) / ln(ratio)."""
        rate = math.log(self.ratio)
        return expm1(rate * u) / rate if rate else u


@dataclass(frozen=True)
class HalfLife(Scaling):
    """f(u) = 0.5^(halvings u): MiniCPM's decay 0.5^((s-S)/T), T a half-life and not a length (arXiv 2404.06395).

    At u = 1 it stands where the halvings brought it, 0.5^halvings, unless `end` stopped it earlier.

    >>> HalfLife(3.0).fall(1.0)
    0.125
    """

    arrives = False
    halvings: float

    def fall(self, u: Number) -> Number:
        """0.5^(halvings u)."""
        return exponential(0.5, self.halvings * u)

    def area(self, u: Number) -> Number:
        """(1 - 0.5^(halvings u)) / (halvings ln 2)."""
        rate = self.halvings * math.log(2.0)
        return expm1(-rate * u) / -rate

    def reach(self, level: float) -> float:
        """log2(1/level) / halvings."""
        return -math.log2(level) / self.halvings if level > 0.0 else math.inf


@dataclass(frozen=True)
class InverseSqrt(Scaling):
    """f = sqrt(S/s), where s is S at the segment's start: on the run's own clock, its first token (arXiv 1706.03762).

    With growth = length/S that is f(u) = 1 / sqrt(1 + growth u). At u = 1 it stands at sqrt(S/s), unless `end`
    stopped it earlier.

    >>> InverseSqrt(3.0).fall(1.0)
    0.5
    """

    arrives = False
    growth: float

    def fall(self, u: Number) -> Number:
        """1 / sqrt(1 + growth u)."""
        return 1.0 / sqrt(1.0 + self.growth * u)

    def area(self, u: Number) -> Number:
        """2 (sqrt(1 + growth u) - 1) / growth, without its cancellation near 0."""
        return 2.0 * u / (sqrt(1.0 + self.growth * u) + 1.0)

    def reach(self, level: float) -> float:
        """(1/level^2 - 1) / growth."""
        return (1.0 / level / level - 1.0) / self.growth if level > 0.0 else math.inf


@dataclass(frozen=True)
class PowerLaw(Scaling):
    """f = (S/s)^exponent, as InverseSqrt with any exponent above 0; 0.51 is the power scheduler's (arXiv 2408.13359).

    With growth = length/S that is f(u) = (1 + growth u)^-exponent.

    >>> PowerLaw(3.0, 1.0).fall(1.0)
    0.25
    """

    arrives = False
    growth: float
    exponent: float

    def fall(self, u: Number) -> Number:
        """(1 + growth u)^-exponent."""
        return power(1.0 + self.growth * u, -self.exponent)

    def area(self, u: Number) -> Number:
        """((1 + growth u)^(1-exponent) - 1) / (growth (1-exponent)); ln(1 + growth u) / growth at exponent 1."""
        logarithm, rest = log1p(self.growth * u), 1.0 - self.exponent
        return (expm1(rest * logarithm) / rest if rest else logarithm) / self.growth

    def reach(self, level: float) -> float:
        """(level^(-1/exponent) - 1) / growth."""
        exponent = -math.log(level) / self.exponent if level > 0.0 else math.inf
        return math.expm1(exponent) / self.growth if exponent < 700.0 else math.inf  # at 710 a float ends
