"""Quantiles of Student's t, which stand for the normal's where a spread is known from few documents."""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def student_quantiles(p: float, degrees: Array) -> Array:
    """Of whole degrees of freedom of any shape, 1 or more."""
    unique, places = np.unique(degrees, return_inverse=True)
    return np.array([student_quantile(p, int(value)) for value in unique])[places].reshape(np.shape(degrees))


def normal_cdf(values: Array) -> Array:
    """The standard normal's distribution.

    >>> normal_cdf(np.array([0.0, 1.96])).round(3).tolist()
    [0.5, 0.975]
    """
    flat = [NormalDist().cdf(value) for value in np.ravel(values).tolist()]
    return np.array(flat).reshape(np.shape(values))


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
