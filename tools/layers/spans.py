"""Runs of layers that together turn the residual no further than one layer does."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """Layers ``first`` up to but without ``end``; ``steps`` is their angle in layers typical of this model there."""

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

    A layer's typical angle at its depth is the null model's, times what the layers of this model take of it in the
    median. A span counts where its angle is at most ``most_steps`` such angles at its first layer.

    >>> angles = np.array([[null_angle(min(i, j), max(i, j)) for j in range(5)] for i in range(5)])
    >>> acting_as_one(angles)
    []
    """
    layers = len(angles) - 1
    typical = float(np.median([angles[i, i + 1] / null_angle(i, i + 1) for i in range(layers)]))
    found = [
        Span(first, end, angles[first, end] / max(typical * null_angle(first, first + 1), 1e-12))
        for first in range(layers)
        for end in range(first + 2, layers + 1)
    ]
    small = sorted((s for s in found if s.steps <= most_steps), key=lambda s: (s.first - s.end, s.steps))
    kept: list[Span] = []
    for span in small:
        if all(span.end <= other.first or span.first >= other.end for other in kept):
            kept.append(span)
    return kept
