"""How a value travels from one edge of a segment to the other, as a function of progress.

    u       progress, 0 at the segment's start and 1 at its end; a number or a float64 array
    fall    f(u), falls from f(0) = 1
    rise    1 - f(u), written so that it stays exact near 0
    area    F(u), the integral of f from 0 to u

Two families turn f into a value, and every value lies between `start` and `end`:

    Shape     end + (start - end) f(u), with f(1) = 0. Falls or rises, and arrives at `end`.
    Scaling   start f(u). A curve with a pace of its own stops at `end` as at a floor, or does not reach it.

A new shape is a class of two or three formulas and its name in `SHAPES`.

>>> SHAPES["cosine"]().value(0.5, start=3.0, end=1.0)
2.0
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from .elementary import Number, between, cos, expm1, exponential, power, sin, sqrt


class Shape(ABC):
    """A curve from `start` at u = 0 to `end` at u = 1: end + (start - end) f(u), where f falls from 1 to 0."""

    arrives: ClassVar[bool] = True  # is the value at u = 1 `end`?

    @abstractmethod
    def fall(self, u: Number) -> Number:
        """f(u), the share of the way that is still left; f(0) = 1."""

    def rise(self, u: Number) -> Number:
        """1 - f(u), the share of the way that is done."""
        return 1.0 - self.fall(u)

    @abstractmethod
    def area(self, u: Number) -> Number:
        """F(u), the integral of f from 0 to u."""

    def value(self, u: Number, *, start: float, end: float) -> Number:
        """The value at progress u, up to rounding `start` at 0 and `end` at 1, and never outside the two.

        >>> Linear().value(0.25, start=0.0, end=2.0)
        0.5
        """
        # Added to the lower value, so that what is small stays exact.
        low, share = (end, self.fall(u)) if start >= end else (start, self.rise(u))
        return between(min(start, end), low + abs(start - end) * share, max(start, end))

    def integral(self, u: float, *, start: float, end: float) -> float:
        """The integral of the value over progress from 0 to u.

        >>> Linear().integral(1.0, start=0.0, end=2.0)
        1.0
        """
        return end * u + (start - end) * self.area(u)


class Constant(Shape):
    """Holds: f(u) = 1 at both edges. For segments whose start and end values are equal.

    >>> Constant().fall(1.0)
    1.0
    """

    def fall(self, u: Number) -> Number:
        """1."""
        return 0.0 * u + 1.0

    def area(self, u: Number) -> Number:
        """u."""
        return u


class Linear(Shape):
    """f(u) = 1 - u. To zero it is D2Z (arXiv 2502.15938).

    >>> Linear().fall(0.25)
    0.75
    """

    def fall(self, u: Number) -> Number:
        """1 - u."""
        return 1.0 - u

    def rise(self, u: Number) -> Number:
        """u."""
        return u

    def area(self, u: Number) -> Number:
        """u - u^2/2."""
        return u - 0.5 * u * u


class Cosine(Shape):
    """f(u) = (1 + cos(pi u)) / 2, level at both edges (arXiv 1608.03983).

    >>> Cosine().fall(0.5)
    0.5
    """

    def fall(self, u: Number) -> Number:
        """(1 + cos(pi u)) / 2."""
        return 0.5 * (cos(math.pi * u) + 1.0)

    def rise(self, u: Number) -> Number:
        """sin(pi u / 2)^2, which is (1 - cos(pi u)) / 2 without its cancellation near 0."""
        half = sin(0.5 * math.pi * u)
        return half * half

    def area(self, u: Number) -> Number:
        """(u + sin(pi u) / pi) / 2."""
        return 0.5 * (u + sin(math.pi * u) / math.pi)


class OneMinusSqrt(Shape):
    """f(u) = 1 - sqrt(u), steepest at its start (arXiv 2405.18392).

    >>> OneMinusSqrt().fall(0.25)
    0.5
    """

    def fall(self, u: Number) -> Number:
        """1 - sqrt(u)."""
        return 1.0 - sqrt(u)

    def rise(self, u: Number) -> Number:
        """sqrt(u)."""
        return sqrt(u)

    def area(self, u: Number) -> Number:
        """u - (2/3) u^1.5."""
        return u - u * sqrt(u) / 1.5


class Square(Shape):
    """f(u) = 1 - u^2, steepest at its end (among the decays compared in arXiv 2405.18392).

    >>> Square().fall(0.5)
    0.75
    """

    def fall(self, u: Number) -> Number:
        """1 - u^2."""
        return 1.0 - u * u

    def rise(self, u: Number) -> Number:
        """u^2."""
        return u * u

    def area(self, u: Number) -> Number:
        """u - u^3/3."""
        return u - u * u * u / 3.0


@dataclass(frozen=True)
class Power(Shape):
    """f(u) = (1 - u)^exponent, exponent > 0; above 1 it lands softly (arXiv 2509.19189).

    >>> Power(2.0).fall(0.5)
    0.25
    """

    exponent: float

    def fall(self, u: Number) -> Number:
        """(1 - u)^p."""
        return power(1.0 - u, self.exponent)

    def area(self, u: Number) -> Number:
        """(1 - (1 - u)^(p+1)) / (p+1)."""
        return (1.0 - power(1.0 - u, self.exponent + 1.0)) / (self.exponent + 1.0)


class Scaling(Shape):
    """A curve that multiplies: start f(u), held between `start` and `end`."""

    def reach(self, level: float) -> float:
        """The progress at which f falls to `level` and the floor takes over; infinite where it never does."""
        return math.inf

    def value(self, u: Number, *, start: float, end: float) -> Number:
        """The value at progress u: `start` at 0; see the shape for 1."""
        return between(min(start, end), start * self.fall(u), max(start, end))

    def integral(self, u: float, *, start: float, end: float) -> float:
        """The integral of the value over progress from 0 to u, floor included.

        >>> HalfLife(2.0).integral(1.0, start=1.0, end=1.0)
        1.0
        """
        moving = min(u, self.reach(end / start))
        return start * self.area(moving) + end * (u - moving)


@dataclass(frozen=True)
class Exponential(Scaling):
    """f(u) = ratio^u with ratio = end/start: equal factors in equal tokens, `end` at u = 1. Both values above 0.

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
    """f = sqrt(S/s) on the run's own clock, S the segment's first token (arXiv 1706.03762).

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


SHAPES: Mapping[str, type[Shape]] = MappingProxyType(
    {
        "constant": Constant,
        "linear": Linear,
        "cosine": Cosine,
        "1-sqrt": OneMinusSqrt,
        "square": Square,
        "power": Power,
        "exponential": Exponential,
        "half_life": HalfLife,
        "inverse_sqrt": InverseSqrt,
    }
)
