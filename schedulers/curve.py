"""How a value travels from one edge of a segment to the other, as a function of progress.

    u       progress, 0 at the segment's start and 1 at its end; a number or a float64 array
    fall    f(u), falls from f(0) = 1
    rise    1 - f(u), written so that it stays exact near 0
    area    F(u), the integral of f from 0 to u

Two families turn f into a value, and every value lies between `start` and `end`:

    Shape     end + (start - end) f(u), with f(1) = 0. Falls or rises, and arrives at `end`.
    Scaling   start f(u). A curve with a pace of its own stops at `end` as at a floor, or does not reach it.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from .elementary import Number, between


class Shape(ABC):
    """A curve from `start` at u = 0 to `end` at u = 1: end + (start - end) f(u), where f falls from 1 to 0.

    >>> from schedulers.shapes import Cosine
    >>> Cosine().value(0.5, start=3.0, end=1.0)
    2.0
    """

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

    def value(self, done: Number, total: float = 1.0, *, start: float, end: float) -> Number:
        """The value where `done` of `total` is behind, in any unit: up to rounding `start` at 0 and `end` at `total`.

        It never lies outside the two.

        >>> from schedulers.shapes import Linear
        >>> Linear().value(25.0, 100.0, start=0.0, end=2.0)
        0.5
        """
        # Added to the lower value, so that what is small stays exact.
        if start >= end:
            return between(end, end + (start - end) * self.fall(done / total), start)
        return between(start, start + self._risen(end - start, done, total), end)

    def integral(self, u: float, *, start: float, end: float) -> float:
        """The integral of the value over progress from 0 to u.

        >>> from schedulers.shapes import Linear
        >>> Linear().integral(1.0, start=0.0, end=2.0)
        1.0
        """
        return end * u + (start - end) * self.area(u)

    def _risen(self, height: float, done: Number, total: float) -> Number:
        return height * self.rise(done / total)


class Scaling(Shape):
    """A curve that multiplies: start f(u), held between `start` and `end`.

    >>> from schedulers.scaling import HalfLife
    >>> HalfLife(3.0).value(1.0, start=8.0, end=2.0)
    2.0
    """

    def reach(self, level: float) -> float:
        """The progress at which f falls to `level` and the floor takes over; infinite where it never does."""
        return math.inf

    def value(self, done: Number, total: float = 1.0, *, start: float, end: float) -> Number:
        """The value where `done` of `total` is behind: `start` at 0; see the shape for `total`."""
        return between(min(start, end), start * self.fall(done / total), max(start, end))

    def integral(self, u: float, *, start: float, end: float) -> float:
        """The integral of the value over progress from 0 to u, floor included.

        >>> from schedulers.scaling import HalfLife
        >>> HalfLife(2.0).integral(1.0, start=1.0, end=1.0)
        1.0
        """
        moving = min(u, self.reach(end / start))
        return start * self.area(moving) + end * (u - moving)
