"""Runs of layers that together turn the residual no further than one layer does."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


_NEIGHBOURS = 3


@dataclass(frozen=True)
class Span:
    """Layers ``first`` up to but without ``end``; ``steps`` is their angle in angles of a layer beside them."""

    first: int
    end: int
    steps: float


def null_angle(first: int, end: int) -> float:
    """Angle over layers [first, end) if all updates were orthogonal and as long as the embedding, in halves of a turn.

    >>> round(null_angle(0, 1), 3)
    0.25
    """
    return float(np.arccos(np.sqrt((first + 1) / (end + 1))) / np.pi)


def acting_as_one(angles: Array, *, most_steps: float = 1.0) -> list[Span]:
    """Spans of two or more layers, the longest first and none touching another, out of angles (layers + 1, layers + 1).

    A span counts where its angle is at most ``most_steps`` times that of one layer near it, in the median of the three
    before it and the three after. It is at most half of the model, so that something is left to compare with.

    >>> angles = np.array([[null_angle(min(i, j), max(i, j)) for j in range(5)] for i in range(5)])
    >>> acting_as_one(angles)
    []
    """
    layers = len(angles) - 1
    found = [
        Span(first, end, angles[first, end] / max(_beside(angles, first, end), 1e-12))
        for first in range(layers)
        for end in range(first + 2, min(first + layers // 2, layers) + 1)
    ]
    small = sorted((s for s in found if s.steps <= most_steps), key=lambda s: (s.first - s.end, s.steps))
    kept: list[Span] = []
    for span in small:
        if all(span.end <= other.first or span.first >= other.end for other in kept):
            kept.append(span)
    return kept


def _beside(angles: Array, first: int, end: int) -> float:
    """Angle of a layer near [first, end): as it is or, if that is less, as the null model would have it at ``first``.

    Angles shrink with depth by themselves: layers before a span would make it look quiet.
    """
    single, layers = np.diagonal(angles, 1), len(angles) - 1
    near = [*range(max(first - _NEIGHBOURS, 0), first), *range(end, min(end + _NEIGHBOURS, layers))]
    moved = [single[layer] / null_angle(layer, layer + 1) for layer in near]
    usual, by_depth = (float(np.quantile(values, 0.5, method="lower")) for values in (single[near], moved))
    return min(usual, by_depth * null_angle(first, first + 1))
