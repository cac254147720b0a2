"""Which source a position belongs to while one mixture turns into another: two constant mixtures and one clock.

A ramp over L samples from weights a to weights b asks a (1 - s) + b s at position n, where s rises from 0 to 1. That is
a mixture of two mixtures: each position is dealt to the *start* side or to the *end* side, and there to a source by the
constant weights of that side. Web alone turning into code 2 : web 1, linearly over 12 samples:

    position   0    1    2    3    4    5    6    7    8    9    10   11
    side       s    s    s    e    s    e    s    e    s    e    e    e         e(12) = 12 / 2 = 6 went to the end side
    source     web  web  web  code web  web  web  code web  code web  code
    arrival    0    1    2    0    3    4    5    1    6    2    7    3         web 6 + 2, code 4

A source that both sides draw has one row of arrivals: what it got from the one side plus what it got from the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import factorial, pi
from typing import Literal, get_args

import numpy as np

from .apportion import MAX_LENGTH, Apportionment, Floats, Ints
from .errors import DataError

Shape = Literal["linear", "cosine"]

_SEARCHED = 64  # parts of a ramp that one step of the search for an arrival tells apart
_SINE_TERMS = 10  # u - sin u for u up to pi / 2; the first term left out is 2^-58 of the whole
_COSINE = [float((-1) ** j * Fraction(pi) ** (2 * j + 2) / (2 * factorial(2 * j + 3))) for j in range(_SINE_TERMS)]


@dataclass(frozen=True, eq=False)
class RampApportionment:
    """Positions 0 .. length - 1 dealt out while weights change, each prefix within ``bound`` samples of the integral.

    Build it with ``RampApportionment.of(start_weights, end_weights, length=..., shape=...)``. Let a, b be the weights,
    each normalised to sum 1, and s(n / L) the part of the way gone, s(x) = x or (1 - cos(pi x)) / 2: weight k is a[k]
    at position 0 and b[k] at L. Its integral over the first n positions is

        C[k](n) = a[k] (n - G(n)) + b[k] G(n),   G(n) = n^2 / 2L   or   n / 2 - L / (2 pi) sin(pi n / L)

    so a ramp of any number of sources has a single curved function, G. Of the first n positions e(n) = round(G(n)) go
    to the end side, n - e(n) to the start side, and each side is an Apportionment, A or B, of its constant weights:

        counts(n)[k] = A(n - e)[k] + B(e)[k]

    Both are exact integers that never fall, and each position raises one of them by one, because e rises by 0 or 1:
    so every position has one source and one arrival, and no two the same.

    Bound. With A and B within alpha[k] and beta[k] of their shares at every length,

        |counts(n)[k] - C[k](n)| = |(A - a (n - e)) + (B - b e) + (b - a)(e - G)| <= alpha[k] + beta[k] + |b - a| r

    with r = 1/2 for the linear ramp and 1/2 + 2^-8 for the cosine. alpha[k] and beta[k] follow from their trees, node
    by node, D(child) = q D(node) + 1/2 (see Apportionment), and are below 1.68: so ``bound`` is below 3.87 at every
    length up to 2^43. There are no pieces, so nothing restarts and nothing is interpolated. (Straight lines between
    256 knots leave h^2 G'' / 8 with h = L / 256: 6,985 samples of a linear ramp over 3.66e9, 10,972 of a cosine.)

    How e stays exact. Linear: n^2 / 2L as a float, rounded, is at most one off; n^2 + L less 2L times it is under 4L
    and right even where the products wrap in int64, and floored by 2L it is the correction. Cosine, up to L / 2:
    G(n) = n z P(z) with z = (n / L)^2, a polynomial in sums, products and one quotient, which IEEE 754 rounds alike on
    every machine. The float is off by a factor within 2^-48 of 1, while G(n + 1) >= (1 + 2^-42) G(n) because G is
    convex from G(0) = 0: so e never falls. It rises by at most 1 because G rises by at most 1/2. Beyond L / 2,
    G(n) = n - L / 2 + G(L - n), so e is n - L // 2 plus a rounded G that falls by 0 or 1 at each step.

    >>> ramp = RampApportionment.of([1, 0], [1, 2], length=12, shape="linear")
    >>> ramp.locate(np.arange(12))[0].tolist()
    [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1]
    """

    length: int
    shape: Shape
    start: Apportionment
    end: Apportionment

    @classmethod
    def of(
        cls, start_weights: Sequence[float], end_weights: Sequence[float], *, length: int, shape: Shape
    ) -> "RampApportionment":
        """A ramp over ``length`` samples, 1 to 2^43; source k has both weights at index k, 0 where it is not drawn.

        Raises DataError for weights that Apportionment refuses, lists of unequal length, and an unknown shape.

        >>> RampApportionment.of([1, 0], [0, 1], length=100, shape="cosine").counts(100).tolist()
        [50, 50]
        """
        if len(start_weights) != len(end_weights):
            got = f"{len(start_weights)} start and {len(end_weights)} end weights"
            raise DataError(f"ramp: {got}; expected one of each for every source, 0 where it is not drawn")
        if shape not in get_args(Shape):
            raise DataError(f"ramp: shape {shape!r}; expected one of {', '.join(get_args(Shape))}")
        if not 1 <= length <= MAX_LENGTH:
            raise DataError(f"ramp: length {length:,} is out of range; expected 1 to 2^43 samples")
        return cls(length, shape, Apportionment.of(start_weights), Apportionment.of(end_weights))

    @property
    def bounds(self) -> Floats:
        """(sources,) No count at any prefix differs from the integral of its weight by more than this, in samples.

        >>> RampApportionment.of([1, 0], [0, 1], length=2**43, shape="linear").bounds.tolist()
        [0.5, 0.5]
        """
        rounding = 0.5 if self.shape == "linear" else 0.5 + 2.0**-8
        turned: Floats = np.abs(self.end.weights - self.start.weights)
        return self.start.bounds + self.end.bounds + turned * rounding

    @property
    def bound(self) -> float:
        """The largest of ``bounds``, below 3.87."""
        return float(self.bounds.max())

    def part_at(self, position: float | Floats) -> Floats:
        """Part of the way gone at a position or an array of them: 0 at 0, 1 at the ramp's length.

        >>> RampApportionment.of([1, 0], [0, 1], length=10, shape="linear").part_at(np.array([0, 5, 10])).tolist()
        [0.0, 0.5, 1.0]
        """
        gone = np.asarray(position, np.float64) / self.length
        return np.asarray(gone if self.shape == "linear" else (1 - np.cos(pi * gone)) / 2)

    def slope_at(self, position: Floats) -> Floats:
        """Derivative of ``part_at``, per sample.

        >>> RampApportionment.of([1, 0], [0, 1], length=10, shape="linear").slope_at(np.array([0, 10])).tolist()
        [0.1, 0.1]
        """
        gone = position / self.length
        return (np.ones_like(gone) if self.shape == "linear" else pi / 2 * np.sin(pi * gone)) / self.length

    def shares_at(self, position: float | Floats) -> Floats:
        """Weights asked for at a position or an array of them, 0 to length, with one more axis for the sources.

        >>> RampApportionment.of([1, 0], [1, 1], length=10, shape="linear").shares_at(5).tolist()
        [0.75, 0.25]
        """
        part = self.part_at(position)[..., None]
        return np.asarray(self.start.weights * (1 - part) + self.end.weights * part)

    def locate(self, positions: Ints) -> tuple[Ints, Ints]:
        """Source of each position, and how many earlier positions had the same source.

        Positions run from 0 to length - 1, in any order.

        >>> ramp = RampApportionment.of([1, 0], [0, 1], length=6, shape="linear")
        >>> [array.tolist() for array in ramp.locate(np.arange(6))]
        [[0, 0, 1, 0, 1, 1], [0, 1, 0, 2, 1, 2]]
        """
        if positions.size:
            self._check(int(positions.min()), int(positions.max()) + 1)
        sources, arrivals = np.zeros(positions.shape, np.int64), np.zeros(positions.shape, np.int64)
        ended = self._ended(positions)
        started = positions - ended
        to_end = self._ended(positions + 1) > ended
        for chosen, side, own, other, passed in (
            (~to_end, self.start, started, self.end, ended),
            (to_end, self.end, ended, self.start, started),
        ):
            lanes = np.flatnonzero(chosen)
            local, here = side.locate(own.take(lanes))
            sources.put(lanes, local)
            arrivals.put(lanes, here + other.count(local, passed.take(lanes)))
        return sources, arrivals

    def counts(self, length: int) -> Ints:
        """How many of the first ``length`` positions each source has; exact, 0 to the ramp's length.

        >>> RampApportionment.of([3, 1], [1, 3], length=2**42, shape="linear").counts(2**41).tolist()
        [1374389534720, 824633720832]
        """
        self._check(length, length)
        ended = int(self._ended(np.array([length]))[0])
        return self.start.counts(length - ended) + self.end.counts(ended)

    def count(self, sources: Ints, lengths: Ints) -> Ints:
        """How many of the first ``lengths[i]`` positions ``sources[i]`` has: one number of ``counts``, for many pairs.

        >>> RampApportionment.of([1, 0], [0, 1], length=6, shape="linear").count(np.array([0, 1]), np.array([6, 3]))
        array([3, 1])
        """
        ended = self._ended(lengths)
        return self.start.count(sources, lengths - ended) + self.end.count(sources, ended)

    def position(self, source: int, arrival: int) -> int:
        """Position at which ``source`` is drawn for the ``arrival``-th time, from 0: the inverse of ``locate``.

        >>> RampApportionment.of([1, 0], [0, 1], length=6, shape="linear").position(1, 2)
        5
        """
        drawn = int(self.counts(self.length)[source]) if 0 <= source < len(self.start.weights) else 0
        if not 0 <= arrival < drawn:
            raise DataError(f"source {source} is drawn {drawn:,} times in this ramp; arrival {arrival:,} is not in it")
        first, end = 0, self.length  # the source has ``arrival`` at most before ``first``, more of them at ``end``
        while end - first > 1:
            inner = first + np.arange(1, _SEARCHED) * (end - first) // _SEARCHED
            passed = self.count(np.full_like(inner, source), inner) > arrival
            edges = [first, *inner.tolist(), end]
            k = int(np.argmax(passed)) if passed.any() else len(inner)
            first, end = edges[k], edges[k + 1]
        return first

    def _ended(self, lengths: Ints) -> Ints:
        """How many of the first positions go to the end side, e(n)."""
        return (_half_square if self.shape == "linear" else _half_cosine)(lengths, self.length)

    def _check(self, first: int, end: int) -> None:
        if not 0 <= first <= end <= self.length:
            raise DataError(f"positions {first:,} to {end:,} lie outside the ramp, which has {self.length:,}")


def _half_square(lengths: Ints, length: int) -> Ints:
    """n^2 / 2L to the nearest integer, halves upwards; products wrap, their difference does not."""
    near: Ints = np.rint(np.square(lengths.astype(np.float64)) / (2 * length)).astype(np.int64)
    missed: Ints = (lengths * lengths + length - near * (2 * length)) // (2 * length)
    return near + missed


def _half_cosine(lengths: Ints, length: int) -> Ints:
    """n / 2 - L / (2 pi) sin(pi n / L) to the nearest integer, from the nearer end of the ramp."""
    late = lengths > length - lengths
    near: Ints = np.where(late, length - lengths, lengths)
    squared = np.square(near / length)
    series = np.full(near.shape, _COSINE[-1])
    for coefficient in reversed(_COSINE[:-1]):
        series = series * squared + coefficient
    half = np.where(late & bool(length % 2), 0.0, 0.5)
    rounded: Ints = np.floor(near * squared * series + half).astype(np.int64)
    return np.where(late, lengths - length // 2 + rounded, rounded)
