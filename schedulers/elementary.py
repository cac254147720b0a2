"""Elementary functions that answer a number by `math` and a float64 array by numpy, so that a formula is written once.

A number stays a Python float: numpy's own scalars would make one value several times slower. The two answers are equal
within one unit in the last place.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])


def cos(x: Number) -> Number:
    """Cosine of x radians."""
    return math.cos(x) if isinstance(x, float) else np.cos(x)


def sin(x: Number) -> Number:
    """Sine of x radians."""
    return math.sin(x) if isinstance(x, float) else np.sin(x)


def sqrt(x: Number) -> Number:
    """Square root, x >= 0."""
    return math.sqrt(x) if isinstance(x, float) else np.sqrt(x)


def expm1(x: Number) -> Number:
    """e^x - 1, exact near 0."""
    return math.expm1(x) if isinstance(x, float) else np.expm1(x)


def log1p(x: Number) -> Number:
    """ln(1 + x), exact near 0."""
    return math.log1p(x) if isinstance(x, float) else np.log1p(x)


def power(x: Number, exponent: float) -> Number:
    """x^exponent, x >= 0."""
    return math.pow(x, exponent) if isinstance(x, float) else np.power(x, exponent)


def exponential(base: float, x: Number) -> Number:
    """base^x, base > 0; of a number too by numpy, because 2 0.5^u - 1 doubles what it and `math` differ by."""
    return float(np.power(base, x)) if isinstance(x, float) else np.power(base, x)


def between(low: float, x: Number, high: float) -> Number:
    """The nearest to x in [low, high].

    >>> between(0.0, 1.5, 1.0)
    1.0
    """
    return min(max(x, low), high) if isinstance(x, float) else np.minimum(np.maximum(x, low), high)
