"""Elementary functions of a number or a float64 array, so that a formula is written once.

A number stays a Python float: numpy's own scalars would make one value several times slower. Cosine, sine and root of a
number go by `math`, as in Megatron and torch; powers and exponentials by numpy, whose answer for an array can differ
from that of `math` in the last bit, which a formula may then double.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])


def cos(x: Number) -> Number:
    """Cosine of x radians.

    >>> cos(0.0)
    1.0
    """
    return math.cos(x) if isinstance(x, float) else np.cos(x)


def sin(x: Number) -> Number:
    """Sine of x radians.

    >>> sin(0.0)
    0.0
    """
    return math.sin(x) if isinstance(x, float) else np.sin(x)


def sqrt(x: Number) -> Number:
    """Square root, x >= 0.

    >>> sqrt(4.0)
    2.0
    """
    return math.sqrt(x) if isinstance(x, float) else np.sqrt(x)


def expm1(x: Number) -> Number:
    """e^x - 1, exact near 0.

    >>> expm1(1e-20)
    1e-20
    """
    return float(np.expm1(x)) if isinstance(x, float) else np.expm1(x)


def log1p(x: Number) -> Number:
    """ln(1 + x), exact near 0.

    >>> log1p(1e-20)
    1e-20
    """
    return float(np.log1p(x)) if isinstance(x, float) else np.log1p(x)


def power(x: Number, exponent: float) -> Number:
    """x^exponent, x >= 0.

    >>> power(4.0, 1.5), power(np.array([4.0]), 1.5).tolist()
    (8.0, [8.0])
    """
    return float(np.power(x, exponent)) if isinstance(x, float) else np.power(x, exponent)


def exponential(base: float, x: Number) -> Number:
    """base^x, base > 0.

    >>> exponential(0.5, 2.0)
    0.25
    """
    return float(np.power(base, x)) if isinstance(x, float) else np.power(base, x)


def between(low: float, x: Number, high: float) -> Number:
    """The nearest to x in [low, high].

    >>> between(0.0, 1.5, 1.0)
    1.0
    """
    return min(max(x, low), high) if isinstance(x, float) else np.minimum(np.maximum(x, low), high)
