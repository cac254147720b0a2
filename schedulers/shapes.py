"""The shapes: curves that arrive at `end`, and the name of every curve there is.

A new one is a class of two or three formulas and its name in `SHAPES`.

>>> SHAPES["cosine"]().value(0.5, start=3.0, end=1.0)
2.0
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .curve import Shape
from .elementary import Number, cos, expm1, exponential, power, sin, sqrt
from .scaling import Exponential, HalfLife, InverseSqrt, PowerLaw


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

    def _risen(self, height: float, done: Number, total: float) -> Number:
        return height * done / total  # multiplied first, as Megatron does, so that a warmup has its very bits


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


@dataclass(frozen=True)
class OneMinusPower(Shape):
    """f(u) = 1 - u^exponent, exponent > 0: `1-sqrt` at 1/2, `square` at 2 (arXiv 2405.18392 compares both).

    >>> OneMinusPower(3.0).fall(0.5)
    0.875
    """

    exponent: float

    def fall(self, u: Number) -> Number:
        """1 - u^p."""
        return 1.0 - power(u, self.exponent)

    def rise(self, u: Number) -> Number:
        """u^p."""
        return power(u, self.exponent)

    def area(self, u: Number) -> Number:
        """u - u^(p+1) / (p+1)."""
        return u - u * power(u, self.exponent) / (self.exponent + 1.0)


class MirrorCosine(Shape):
    """f(u) = 2 (1 - u) - (1 + cos(pi u)) / 2, the cosine mirrored at the line (the code behind arXiv 2405.18392).

    Steep at both edges, where the cosine is level: its slope is -2 there and pi/2 - 2 halfway. A difference of two
    curves, so where neighbours are less than 1e-13 of the way apart its last bits need not fall.

    >>> MirrorCosine().fall(0.5)
    0.5
    """

    def fall(self, u: Number) -> Number:
        """2 (1 - u) - (1 + cos(pi u)) / 2."""
        return 2.0 * (1.0 - u) - 0.5 * (cos(math.pi * u) + 1.0)

    def rise(self, u: Number) -> Number:
        """2 u - sin(pi u / 2)^2."""
        half = sin(0.5 * math.pi * u)
        return 2.0 * u - half * half

    def area(self, u: Number) -> Number:
        """2 u - u^2 - (u + sin(pi u) / pi) / 2."""
        return 2.0 * u - u * u - 0.5 * (u + sin(math.pi * u) / math.pi)


class HalfCosine(Shape):
    """f(u) = 1 - sin(pi u / 2), the second half of a cosine: steepest at its start, level at its end.

    It carries a cosine on from its middle over another length, as OLMo 3 went from 5T to 7T tokens.

    >>> round(HalfCosine().fall(1 / 3), 15)
    0.5
    """

    def fall(self, u: Number) -> Number:
        """1 - sin(pi u / 2)."""
        return 1.0 - sin(0.5 * math.pi * u)

    def rise(self, u: Number) -> Number:
        """sin(pi u / 2)."""
        return sin(0.5 * math.pi * u)

    def area(self, u: Number) -> Number:
        """u - (2/pi) (1 - cos(pi u / 2))."""
        quarter = sin(0.25 * math.pi * u)
        return u - 4.0 / math.pi * quarter * quarter


class MegatronExponential(Shape):
    """f(u) = 2 0.5^u - 1: what Megatron calls an exponential decay. It arrives at `end`, as an exponential cannot.

    The default `--lr-wsd-decay-style` of Megatron-LM; a line that sags by at most 0.0861, at u = 0.47.

    >>> MegatronExponential().fall(1.0)
    0.0
    """

    def fall(self, u: Number) -> Number:
        """2 0.5^u - 1."""
        return 2.0 * exponential(0.5, u) - 1.0

    def rise(self, u: Number) -> Number:
        """2 (1 - 0.5^u), exact near 0."""
        return -2.0 * expm1(-math.log(2.0) * u)

    def area(self, u: Number) -> Number:
        """2 (1 - 0.5^u) / ln 2 - u."""
        return -2.0 * expm1(-math.log(2.0) * u) / math.log(2.0) - u


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
        "power_law": PowerLaw,
        "1-power": OneMinusPower,
        "mirror_cosine": MirrorCosine,
        "half_cosine": HalfCosine,
        "megatron_exponential": MegatronExponential,
    }
)
